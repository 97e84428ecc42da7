"""One script for Chinese."""

import pytest

from encoder.chinese import simplified


@pytest.mark.parametrize(
    ("written", "same"),
    [
        ("黑色線稿", "黑色线稿"),
        ("乾淨的背景", "干净的背景"),
        ("乾坤", "乾坤"),
        ("皇后在鏡子後面", "皇后在镜子后面"),
        ("賽博龐克 neon city 🔥", "赛博庞克 neon city 🔥"),
        ("ＬｏＲＡ，not Chinese", "ＬｏＲＡ，not Chinese"),
        ("", ""),
    ],
)
def test_traditional_characters_become_simplified_ones(written: str, same: str) -> None:
    assert simplified(written) == same
