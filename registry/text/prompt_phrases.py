"""A prompt -> the parts that name one thing each: `a fox in watercolour` is a fox, watercolour.

English and Chinese. A part may be wrong (`salt and pepper` is one thing): neighbours are also
offered together, and what is found for each decides.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from encoder.chinese import HAN
from registry.text.hub_prompts import clean_prompt
from registry.text.word_segmentation import IS_HAN, query_words, word_ends

# What stands before how something is drawn, and all that stands between two things of a prompt.
ENGLISH_HOW = (
    "in the style of", "drawn in", "painted in", "rendered in", "made of", "made from",
    "covered in", "covered with", "decorated with", "filled with", "set against", "in front of",
)  # fmt: skip
ENGLISH = (
    *ENGLISH_HOW,
    "standing on", "sitting on", "together with", "on top of", "next to", "as well as",
    "drawing of", "painting of", "picture of", "image of", "illustration of", "portrait of",
    "sketch of", "photo of", "icon of", "wearing", "featuring", "holding", "against", "beside",
    "with", "and", "over", "under", "using", "plus", "on", "in", "at", "by", "as",
)  # fmt: skip
CHINESE_HOW = ("风格画的", "风格的", "画成")
CHINESE = (
    "以及", "还有", "加上", "搭配", "配上", "带着", "带有", *CHINESE_HOW, "背景上的",
    "背景上", "画的", "并且", "和", "与", "及", "用", "以", "在", "上的", "配", "带", "的",
)  # fmt: skip
_WORDS = "|".join(ENGLISH)
_SEAMS = re.compile(
    rf"[,;.:!?()\[\]{{}}|\n，。；：！？（）、]+"
    rf"|(?<![\w'])(?:{_WORDS})(?![\w'])"
    rf"|(?<=[{HAN}])(?:{'|'.join(CHINESE)})(?=[{HAN}])"
    rf"|^(?:用|以|在)(?=[{HAN}])",
    re.IGNORECASE,
)
# What asks for a picture and names nothing in it. A picture frame and a paint splash are things.
_PICTURES = ("picture", "image", "drawing", "painting", "illustration", "icon", "photo")
_ENGLISH_FILLERS = re.compile(
    r"^(?:(?:please|draw|make|create|generate|me|a|an|the|(?<=\s)some|of"
    r"|(?:paint|show|give)(?=\s+(?:me|an?|the|some)\b)"
    rf"|(?:{'|'.join(_PICTURES)})(?=\s+of\b))\s+)+",
    re.IGNORECASE,
)
_CHINESE_COUNT = re.compile("一[张幅个只朵份]")
_CHINESE_FILLERS = re.compile(f"(?:请|帮我|给我|画|生成|图片|{_CHINESE_COUNT.pattern})+")
_NAME_NOTHING = re.compile(
    rf"^(?:(?:please|draw|paint|make|create|show|give|generate|me|a|an|the|some|one|of"
    rf"|{'|'.join(_PICTURES)})\s+)+",
    re.IGNORECASE,
)
_NAME_NOTHING_IN_CHINESE = frozenset(["帮", "生成", "一朵", "一份"])
# Every run of parts is searched for: 6 parts and runs of up to 3 are 15 questions.
MOST_PARTS = 6
LONGEST_RUN = 3


@dataclass(frozen=True, slots=True)
class Span:
    """A run of neighbouring parts; `text` is what stands in the prompt, seams included."""

    first: int
    last: int
    text: str

    def overlaps(self, other: "Span") -> bool:
        return self.first <= other.last and other.first <= self.last


def spans_of(prompt: str) -> list[Span]:
    """Return the prompt's parts and their runs, in order; the whole prompt if it has one part."""
    pieces = _pieces(prompt)
    if not pieces:
        return [Span(0, 0, prompt.strip())]
    spans = []
    for first in range(len(pieces)):
        for last in range(first, min(first + LONGEST_RUN, len(pieces))):
            text = prompt[pieces[first][0] : pieces[last][1]].strip()
            spans.append(Span(first, last, without_filler(text)))
    return spans


def texts_of(prompt: str) -> list[str]:
    """Return the prompt and all its parts and their runs, each text once."""
    return list(dict.fromkeys([prompt, *(span.text for span in spans_of(prompt))]))


def _pieces(prompt: str) -> list[tuple[int, int]]:
    """Return where parts begin and end; what has no word of its own is none, nor is praise."""
    between, start = [], 0
    for seam_start, seam_end in _seams(prompt):
        between.append((start, seam_start))
        start = seam_end
    between.append((start, len(prompt)))
    pieces = [piece for piece in between if _is_part(prompt[slice(*piece)])]
    if len(pieces) > MOST_PARTS:
        # The rest is one part, so that nothing of the prompt is left out.
        pieces = [*pieces[: MOST_PARTS - 1], (pieces[MOST_PARTS - 1][0], pieces[-1][1])]
    return pieces


def _seams(prompt: str) -> Iterator[tuple[int, int]]:
    """Yield what stands between the parts; Chinese words only as wholes: 和 is no seam of 和服."""
    ends = {0, *word_ends(prompt)} if IS_HAN.search(prompt) else {0}
    place = 0
    while seam := _SEAMS.search(prompt, place):
        if not IS_HAN.match(seam[0]) or ends.issuperset(seam.span()):
            yield seam.span()
            place = seam.end()
        else:
            # 画的 is no seam of 油画的猫, and 的 is.
            place = seam.start() + 1


def _is_part(text: str) -> bool:
    return says_something(text) and bool(clean_prompt(text))


def without_filler(text: str) -> str:
    """Return a text without words that only ask for a picture, unless it has no others."""
    if fillers := _CHINESE_FILLERS.match(text):
        return text[_last_seam(text, fillers.end()) :] or text
    return _ENGLISH_FILLERS.sub("", text) or text


def _last_seam(text: str, most: int) -> int:
    """Return where the last word of a Chinese text ends by `most`: 画 of 画家 is no word."""
    # The dictionary has 一个床, but it is one bed.
    ends = word_ends(_CHINESE_COUNT.sub("，，", text))
    return max(takewhile(lambda end: end <= most, ends), default=0)


def says_something(text: str) -> bool:
    """Tell whether a text has a word of its own."""
    words = query_words(_NAME_NOTHING.sub("", text.strip() + " "))
    return any(word.weight == 1.0 and word.text not in _NAME_NOTHING_IN_CHINESE for word in words)
