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


@dataclass(frozen=True, slots=True)
class PastedPrompt:
    """A text, and the adapters that it calls for by `<lora:name:0.8>`, in order, each once."""

    text: str
    called: tuple["NamedAdapter", ...]

    @property
    def called_names(self) -> tuple[str, ...]:
        """The names of the files that it calls for."""
        return tuple(named.stem for named in self.called)

    @property
    def without_calls(self) -> str:
        """What is drawn of it: all but the calls."""
        return without_calls(self.text)

    @property
    def plain_words(self) -> str:
        """What it says of its picture; a text that comes of no web UI as it is.

        One that says nothing but which adapters it calls for is their names.
        """
        if not self.called and not _WEIGHT.search(self.text):
            return self.text
        return clean_prompt(self.text) or " ".join(self.called_names) or self.text


def read_pasted(text: str) -> PastedPrompt:
    """Find what a text calls for; most call for nothing."""
    if "<" not in text:
        return PastedPrompt(text, ())
    # With it come the readers of pictures, which most searches need not load.
    from crawler.pictures.adapters import adapters_called

    return PastedPrompt(text, adapters_called(text))
