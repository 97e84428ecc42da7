"""Text that strangers wrote, cut to sizes and characters that a database can hold."""

import html
import re
from collections.abc import Iterable
from typing import Any

from crawler.foreign_text import plain_line
from crawler.hub_json import read_json

MAX_NAME = 200
MAX_DESCRIPTION = 10_000
MAX_PROMPT = 4_000
MAX_WORD = 200
MAX_WORDS = 64

# What hubs write where there is no trigger word.
_NOTHING = {"", "none", "null", "n/a", "无"}
_PHRASE_ENDS = re.compile(r"[,\n，、;；]")
_CALL = re.compile(r"<(?:lora|lyco|hypernet):[^<>]*>[ ,]*", re.IGNORECASE)
_ESCAPED = re.compile(r"\\([()\[\]])")
_BREAK = re.compile(r"<(?:br|/p|/li|/h\d)\s*/?>", re.IGNORECASE)
# What a browser reads and shows nobody. What has no end is matched as well, or each of thousands
# of beginnings would be looked for to the end of the text.
_UNSEEN = re.compile(r"<(style|script)\b[^<>]*>.*?(</\1\s*>|\Z)", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
# The number of no sign; Python refuses to read one of thousands of digits.
_NO_SIGN = re.compile(r"&#[0-9]{100,};?")


def clean_text(value: Any, limit: int) -> str:
    """Return `value` as one text of at most `limit` characters; "" where it is no text.

    Control characters and lone surrogates are dropped: PostgreSQL refuses both.
    """
    if not isinstance(value, str):
        return ""
    # Cut first, generously: cleaning a hostile 100 MB text to throw it away is work too.
    return "".join(map(_kept, value[: 4 * limit])).strip()[:limit]


def _kept(character: str) -> str:
    """Return what is kept of a character: of spaces that do not print (&nbsp;, 全角) a space."""
    if character.isprintable() or character in "\n\t":
        return character
    if character in "\x85\u2028\u2029":
        return "\n"
    return " " if character.isspace() and character != "\r" else ""


def clean_line(value: Any, limit: int) -> str:
    """Return `value` as one line of at most `limit` characters; "" where it is no text.

    A line break in a trigger word would begin another line wherever a prompt is pasted, and
    there another setting.
    """
    return plain_line(value[: 4 * limit])[:limit].strip() if isinstance(value, str) else ""


def clean_words(values: Any) -> tuple[str, ...]:
    """Return distinct words in their order, given a list or JSON in a string."""
    words: dict[str, None] = {}
    for value in _as_list(values):
        word = clean_line(value, MAX_WORD)
        if word.lower() not in _NOTHING:
            words.setdefault(word)
        if len(words) == MAX_WORDS:
            break
    return tuple(words)


def split_phrases(values: Any) -> tuple[str, ...]:
    """Return trigger phrases one by one: "zqx, blu" are two, in a text and in a list.

    Prompts for web UIs say `saber \\(fate\\)` for "saber (fate)" and call for adapters by
    `<lora:name:1>`, which is no phrase.
    """
    # Each once: YAML's aliases repeat a long text for three characters.
    texts = dict.fromkeys(value for value in _as_list(values) if isinstance(value, str))
    parts = [
        without_escapes(part)
        for value in texts
        for part in _PHRASE_ENDS.split(without_calls(value[: 4 * MAX_DESCRIPTION]))
    ]
    return clean_words(parts)


def without_escapes(prompt: str) -> str:
    r"""Return a prompt for web UIs as plain words: `saber \(fate\)` is "saber (fate)"."""
    return _ESCAPED.sub(r"\1", prompt)


def without_calls(prompt: str) -> str:
    """Return a prompt without `<lora:name:1>`, by which web UIs are told to load an adapter."""
    return _CALL.sub("", prompt).strip(" ,\n")


def plain_text(markup: Any) -> str:
    """Return what HTML says; text without markup as it is."""
    if not isinstance(markup, str):
        return ""
    cut = markup[: 4 * MAX_DESCRIPTION]
    said = _UNSEEN.sub(lambda found: "" if found[2] else found[0], cut)
    breaks = _BREAK.sub("\n", said)
    return html.unescape(_NO_SIGN.sub("", _TAG.sub("", breaks))).strip()


def _as_list(values: Any) -> Iterable[Any]:
    """Understand ["a"], '["a"]' and 'a': hubs write trigger words in all three ways."""
    if isinstance(values, str):
        decoded = read_json(values) if values.lstrip().startswith("[") else None
        return decoded if isinstance(decoded, list) else [values]
    return values if isinstance(values, list | tuple) else []
