"""A question -> its parts, each of which says what is wanted or how it is to be drawn.

English and Chinese. Fewer parts than a prompt has for fusion (prompt_phrases.py): what is told of
one thing with `with`, `and` or `in` is left together.
"""

import re

from encoder.chinese import HAN
from registry.text.prompt_phrases import (
    CHINESE_HOW,
    ENGLISH_HOW,
    says_something,
    without_filler,
)

_ENGLISH = (*ENGLISH_HOW, "drawn as", "painted as", "as")
_CHINESE = (*CHINESE_HOW, "做成")
_SEAMS = re.compile(
    rf"[,;:!?()\[\]{{}}|\n，。；：！？（）、]+|\.(?=\s|$)"
    rf"|(?<![\w'])(?:{'|'.join(_ENGLISH)})(?![\w'])"
    rf"|(?<=[{HAN}])(?:{'|'.join(_CHINESE)})",
    re.IGNORECASE,
)
# Examples are no part of what is asked for: none of them has to be there.
_EXAMPLES = re.compile(
    r"(?:\b(?:such as|for example|for instance|e\.g\.|including|like)\b|例如|比如|诸如|譬如)"
    r"[^.;。；]*",
    re.IGNORECASE,
)
# A prompt of more is a list of tags, of which nobody wants all the same.
MOST_PARTS = 6


def parts_of(question: str) -> list[str]:
    """Return the parts of a question; none where it has one only, or is a list of many."""
    pieces = _SEAMS.split(_EXAMPLES.sub("", question))
    if len(pieces) < 2:  # as most are: nothing has to be cut into words
        return []
    parts = [without_filler(piece.strip()) for piece in pieces if says_something(piece)]
    return parts if 2 <= len(parts) <= MOST_PARTS else []
