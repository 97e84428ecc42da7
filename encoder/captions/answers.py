"""What a vision model answered -> captions, or in words what is wrong with it.

Models talk before they answer, wrap JSON into fences, think aloud, refuse, ramble, or are cut off.
Nothing of an answer is believed before it was looked at.
"""

import json
import re
from typing import Any

from crawler.foreign_text import plain_line, quoted
from encoder.captions.captioner import Captions, Language
from encoder.captions.prompts import KINDS, MAX_CHARACTERS
from encoder.errors import CaptionError

# `MAX_TOKENS` of the longest tokens, and thoughts before them.
MAX_ANSWER = 50_000
# Places in which an object may begin that are looked at, from the front.
MOST_STARTS = 20
_THOUGHTS_END = "</think>"
_THOUGHTS_START = re.compile(r"\s*<think>")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_LETTER = re.compile(r"[^\W\d_]")
# How models begin that will not describe a picture.
_REFUSAL = re.compile(
    r"(?:i(?:'|’)?m (?:so )?sorry\b|i am (?:so )?sorry\b|sorry,|i can(?:'|’)?t\b|i can ?not\b"
    r"|i(?:'|’)?m (?:not able|unable) to\b|i am (?:not able|unable) to\b|as an ai\b|unable to\b"
    r"|(?:很|非常)?抱歉|对不起|我(?:无法|不能)|无法(?:描述|提供|识别)|作为(?:一个)?(?:AI|人工智能))",
    re.IGNORECASE,
)


def parse_answer(answer: str, language: Language) -> Captions:
    """Return the captions that an answer holds.

    Raises:
        CaptionError: it holds none that can be used; says what it is instead.
    """
    if len(answer) > MAX_ANSWER:
        raise CaptionError(f"the answer is {len(answer):,} characters long")
    said = _without_thoughts(answer).strip()
    if not said:
        raise CaptionError("the answer is empty")
    found = _find_object(said)
    if found is None:
        raise CaptionError(_what_is_wrong(said))
    texts = {kind: _read_caption(found, kind) for kind in KINDS}
    # As one text: a short caption may be little more than a name in Latin letters.
    whole = " ".join(texts.values())
    if _is_chinese(whole) != (language == "zh"):
        raise CaptionError(f"the captions are not in the language asked for: {quoted(whole)}")
    return Captions(**texts)


def _without_thoughts(answer: str) -> str:
    """Return what follows the thoughts; some templates open them outside of the answer."""
    _, end, said = answer.rpartition(_THOUGHTS_END)
    if not end and _THOUGHTS_START.match(answer):
        raise CaptionError("the answer is cut off while the model still thinks")
    return said


def _find_object(said: str) -> dict[str, Any] | None:
    """Return the first JSON object with a key of ours in it, wherever it stands."""
    # Models break lines inside of texts, which JSON does not allow.
    decoder = json.JSONDecoder(strict=False)
    starts = [match.start() for match in re.finditer(r"\{", said)][:MOST_STARTS]
    for start in starts:
        try:
            value, _ = decoder.raw_decode(said, start)
        except (ValueError, RecursionError):
            continue
        keys = {key.strip().lower(): inner for key, inner in value.items()}
        if keys.keys() & set(KINDS):
            return keys
    return None


def _what_is_wrong(said: str) -> str:
    if _REFUSAL.match(said):
        return f"the model refuses: {quoted(said)}"
    if '"short"' in said:
        return f"the JSON is broken or cut off: {quoted(said)}"
    return f"the answer is not the JSON asked for: {quoted(said)}"


def _read_caption(found: dict[str, Any], kind: str) -> str:
    value = found.get(kind)
    if not isinstance(value, str):
        raise CaptionError(f"the answer has no text called {kind!r}")
    text = plain_line(value)
    if not text:
        raise CaptionError(f"the {kind} caption is empty")
    if len(text) > MAX_CHARACTERS[kind]:
        raise CaptionError(f"the {kind} caption is {len(text):,} characters long")
    if _REFUSAL.match(text):
        raise CaptionError(f"the model refuses: {quoted(text)}")
    return text


def _is_chinese(text: str) -> bool:
    """A third of the letters: Chinese captions name artists in Latin, English ones in Chinese."""
    return 3 * len(_HAN.findall(text)) >= max(1, len(_LETTER.findall(text)))
