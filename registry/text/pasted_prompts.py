"""Prompts that people paste from web UIs, where plain words are expected."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crawler.hub_text import without_calls
from encoder.chinese import HAN
from registry.text.hub_prompts import clean_prompt

if TYPE_CHECKING:
    from crawler.pictures.adapters import NamedAdapter

# `(blue sky:1.2)`, Midjourney's options, scores, wildcards, and seams where not all is in capitals:
# nobody describes pictures so.
_SIGNS = re.compile(
    rf"""
    [(\[](?:[^()\[\]:\\]|\\.|:(?=[^\W\d])){{1,200}}:\s*-?(?:\d+(?:\.\d*)?|\.\d+)\s*[)\]]
    | \s--(?:ar|no|v|niji|s|style|stylize|seed|chaos|iw|q|tile|raw|sref|cref)(?!\S)
    | \bscore_\d | (?<!\w)__[\w/*-]{{1,60}}__(?!\w)
    | (?<=[a-z,.){HAN}]\s)BREAK(?=\s+[a-z(<{HAN}])
    """,
    re.VERBOSE,
)
# The signs of these as Chinese keyboards have them: `（蓝天：1.2）`, `<lora:国风：0.8>`.
_NARROW = str.maketrans("（）：", "():")
_WIDE_WEIGHT = re.compile(
    r"[(（]([^()（）:：]{1,200})[:：]\s*(-?(?:\d{1,3}(?:\.\d{0,6})?|\.\d{1,6}))\s*[)）]"
)
_WIDE_CALL = re.compile(r"(?<=<lora)：|(?<=<lyco)：|：(?=-?\d{0,3}(?:\.\d{0,6})?>)", re.IGNORECASE)
# Midjourney's way to say what is not wanted, up to the next option.
_NO = re.compile(r"\s--no\s+(?!--)(.+?)(?=\s--[a-z]|\n|$)")
# Where what web UIs write down of a picture goes on behind its prompt: on a line of its own, unless
# it was pasted where there is but one.
_SETTINGS = re.compile(
    r"\s(?:(?i:negative prompt) ?[:：]|Steps[:：] ?\d)"
    r"|(?:反向|[负負][面向])(?:提示[词詞]|提示|[词詞]) ?[:：]"
)


@dataclass(frozen=True, slots=True)
class PastedPrompt:
    """A text, and the adapters that it calls for by `<lora:name:0.8>`, in order, each once.

    `settings` stood behind it: what the picture was to be without, and how it was drawn.
    """

    text: str
    called: tuple["NamedAdapter", ...]
    settings: str = ""

    @property
    def called_names(self) -> tuple[str, ...]:
        """The names of the files that it calls for."""
        return tuple(named.stem for named in self.called)

    @property
    def pointers(self) -> tuple[str, ...]:
        """What may lead to adapters beside its words: names, and settings, which have hashes."""
        return (self.settings, *self.called_names) if self.settings else self.called_names

    @property
    def without_calls(self) -> str:
        """What is drawn of it: all but the calls."""
        return without_calls(self.text)

    @property
    def plain_words(self) -> str:
        """What it says of its picture; a text that comes of no web UI as it is.

        One that says nothing but which adapters it calls for is their names.
        """
        if not (self.called or self.settings or _SIGNS.search(self.text.translate(_NARROW))):
            return self.text
        plain = _WIDE_WEIGHT.sub(r"(\1:\2)", _NO.sub(_without, self.text))
        return clean_prompt(plain) or " ".join(self.called_names) or self.text


def _without(unwanted: re.Match[str]) -> str:
    return "".join(
        f", without {thing.strip()}" for thing in unwanted[1].split(",") if thing.strip()
    )


def read_pasted(text: str) -> PastedPrompt:
    """Find what a text calls for, and where its settings begin; most have neither."""
    settings = ""
    if (found := _SETTINGS.search(text)) and (prompt := text[: found.start()].strip()):
        text, settings = prompt, text[found.start() :].strip()
    if "<" not in text:
        return PastedPrompt(text, (), settings)
    # With it come the readers of pictures, which most searches need not load.
    from crawler.pictures.adapters import adapters_called

    text = _WIDE_CALL.sub(":", text)
    return PastedPrompt(text, adapters_called(text), settings)
