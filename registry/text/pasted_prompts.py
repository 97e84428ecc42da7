"""Prompts that people paste from web UIs, where plain words are expected."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crawler.hub_text import without_calls
from registry.text.hub_prompts import clean_prompt

if TYPE_CHECKING:
    from crawler.pictures.adapters import NamedAdapter

# `(blue sky:1.2)`: nobody describes pictures so.
_WEIGHT = re.compile(r"[(\[][^()\[\]:]{1,200}:\s*-?(?:\d+(?:\.\d*)?|\.\d+)\s*[)\]]")
# Where what web UIs write down of a picture goes on behind its prompt: on a line of its own, unless
# it was pasted where there is but one.
_SETTINGS = re.compile(r"\s(?:Negative prompt:|Steps: ?\d)")


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
        if not (self.called or self.settings or _WEIGHT.search(self.text)):
            return self.text
        return clean_prompt(self.text) or " ".join(self.called_names) or self.text


def read_pasted(text: str) -> PastedPrompt:
    """Find what a text calls for, and where its settings begin; most have neither."""
    settings = ""
    if (found := _SETTINGS.search(text)) and (prompt := text[: found.start()].strip()):
        text, settings = prompt, text[found.start() :].strip()
    if "<" not in text:
        return PastedPrompt(text, (), settings)
    # With it come the readers of pictures, which most searches need not load.
    from crawler.pictures.adapters import adapters_called

    return PastedPrompt(text, adapters_called(text), settings)
