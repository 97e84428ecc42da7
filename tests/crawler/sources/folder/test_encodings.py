"""In which encoding a sidecar is read: none is guessed where another is as likely."""

import pytest

from crawler.sources.folder.encodings import decode
from crawler.sources.folder.fields import SidecarError

CHINESE = "水墨画风格，强度建议 0.8。触发词：zqx，放在提示词最前面。"
KOREAN = "이 로라는 수채화 스타일의 그림을 그립니다. 강도는 0.8 정도가 좋습니다."
JAPANESE = "この学習モデルは水彩画風の絵を描きます。強さは0.8くらいが良いです。"
TRADITIONAL = "水墨畫風格，強度建議 0.8。觸發詞：zqx，放在提示詞最前面。"
RUSSIAN = "Эта лора рисует акварелью. Сила около 0.8, фон лучше простой."


@pytest.mark.parametrize(
    "text", [CHINESE, "写意画", "璀璨霓虹的夜景效果，适合城市风光", '{"name": "写意画 Ink"}']
)
@pytest.mark.parametrize("encoding", ["gb18030", "gbk", "utf-8", "utf-8-sig", "utf-16"])
def test_chinese_is_read_as_windows_writes_it(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (KOREAN, "cp949"),
        (JAPANESE, "cp932"),
        (JAPANESE, "euc_jp"),
        (TRADITIONAL, "big5"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8_r"),
        ("größer als Ästhetik, naïve Café-Bilder", "cp1252"),
        ("Übergröße ÄÖÜ", "cp1252"),
        # What Korean could be as well, and a single character.
        (KOREAN.split()[0], "cp949"),
        ("灯光", "gb18030"),
        ("意", "gb18030"),
        # Rare characters only: what other encodings look like.
        ("饕餮魑魅魍魉", "gb18030"),
        # Cut in the middle of a character.
        (CHINESE + "\udcb5", "gb18030"),
    ],
)
def test_what_may_be_another_encoding_is_told_of(text: str, encoding: str) -> None:
    data = b"".join(
        bytes([ord(c) & 0xFF]) if "\udc80" <= c <= "\udcff" else c.encode(encoding) for c in text
    )

    with pytest.raises(SidecarError, match="not written in UTF-8: save it so"):
        decode(data)


def test_what_is_utf_8_is_never_read_otherwise() -> None:
    """Both readings of these bytes are whole: `ˮī` is what a text of `水墨` alone comes to."""
    data = "水墨".encode("gb18030")

    assert decode(data) == data.decode() == "ˮī"


def test_a_mark_is_believed_and_what_breaks_after_it_is_not_chinese() -> None:
    with pytest.raises(SidecarError):
        decode(b"\xef\xbb\xbf" + CHINESE.encode("gb18030"))
