"""The bytes of a sidecar -> its text: in UTF-8, in what a mark names, or in Chinese Windows'."""

import codecs

from crawler.sources.folder.fields import SidecarError

# The longest first: the marks of UTF-16 begin those of UTF-32.
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Rows of GB 2312 by the first byte of their characters: punctuation, digits and wide letters;
# then its first level, 3,755 characters that nearly all of Chinese is written with, by sound.
SIGNS, COMMON = range(0xA1, 0xA4), range(0xB0, 0xD8)
# Korean in its own encoding reads as characters of the first level's rows before this one.
FIRST_NOT_KOREAN = 0xC9
# Of a text's Chinese at least so many and such a share are common. Of 2 to 40 characters of our
# own pages 68 % (of 2) to all (of 12) pass; of the same in Big5, and of Korean, Japanese and
# Russian sentences in their encodings, fewer than 1 %.
FEWEST_COMMON, SHARE_COMMON = 2, 0.8


def decode(data: bytes) -> str:
    """Return a sidecar's text.

    GB18030, which Chinese Windows writes, is believed only of what is not UTF-8 and reads as
    Chinese: nearly any bytes are some characters in it.

    Raises:
        SidecarError: it is in none of the encodings that can be told.
    """
    encoding = next((name for mark, name in MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        chinese = _chinese(data) if encoding == "utf-8" else None
        if chinese is None:
            raise SidecarError("is not written in UTF-8: save it so") from error
        text = chinese
    if "\0" in text:
        # UTF-16 without a mark: every other letter reads as one.
        raise SidecarError("is not written in UTF-8: save it so")
    return text


def _chinese(data: bytes) -> str | None:
    """Return what bytes say in GB18030; None where that is not Chinese for certain."""
    try:
        text = data.decode("gb18030")
    except UnicodeDecodeError:
        return None
    rows = [_row(character) for character in text if not character.isascii()]
    common = [row for row in rows if row in COMMON]
    words = [row for row in rows if row not in SIGNS]
    if len(common) < max(FEWEST_COMMON, SHARE_COMMON * len(words)):
        return None
    return text if max(common) >= FIRST_NOT_KOREAN else None


def _row(character: str) -> int:
    """Return the first byte of a character in GB 2312; 0 if it has none there."""
    return (character.encode("gb2312", "ignore") or b"\0")[0]
