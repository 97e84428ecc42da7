"""What people write before an author's or a tag's name is not looked for."""

import time

import pytest

from registry.text.labels import without_labels


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("author:nightkiln", "nightkiln"),
        ("Author: nightkiln", "nightkiln"),
        ("@nightkiln", "nightkiln"),
        ("author:@nightkiln", "nightkiln"),
        ("by:nightkiln fox", "nightkiln fox"),
        ("fox by:nightkiln", "fox  nightkiln"),
        ("tag:fox tag:red", "fox  red"),
        ("trigger words: zx_fox", "zx_fox"),
        ("civitai: fox", "fox"),
        ("作者：夜窑", "夜窑"),
        ("标签:水墨", "水墨"),
        ("提示词：汉服少女", "汉服少女"),
        ("正向提示词：汉服少女", "汉服少女"),
        ("正面提示詞：漢服少女", "漢服少女"),
    ],
)
def test_labels_are_no_part_of_a_question(asked: str, meant: str) -> None:
    assert without_labels(asked) == meant


@pytest.mark.parametrize(
    "asked",
    [
        "a fox by nightkiln", "urn:air:sdxl:lora:civitai:12@34", "name@v1", "baby: a portrait",
        "author:", "@", "", "https://civitai.com/models/1", "a @ b", "1:2", "(fox:1.2)",
        "反向提示词：狗", "負面提示詞：狗",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_label_stays(asked: str) -> None:
    assert without_labels(asked) == asked


@pytest.mark.parametrize("part", ["author:", "@", "trigger ", "by: ", "作者："])
def test_a_long_text_takes_no_time(part: str) -> None:
    started = time.process_time()
    without_labels(part * 10_000)

    assert time.process_time() - started < 5  # of a processor
