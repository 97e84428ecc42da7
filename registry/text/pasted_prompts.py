"""Prompts that people paste from web UIs, where plain words are expected."""

import re
from typing import TYPE_CHECKING

from registry.text.hub_prompts import clean_prompt

if TYPE_CHECKING:
    from crawler.pictures.adapters import NamedAdapter

# `(blue sky:1.2)`: nobody describes pictures so.
_WEIGHT = re.compile(r"[(\[][^()\[\]:]{1,200}:\s*-?\d*\.?\d+\s*[)\]]")


def called_adapters(text: str) -> tuple["NamedAdapter", ...]:
    """Return the adapters that a text calls for by `<lora:name:0.8>`, in their order, each once."""
    if "<" not in text:
        return ()
    # With it come the readers of pictures, which most searches need not load.
    from crawler.pictures.adapters import adapters_called

    return adapters_called(text)


def called_names(text: str) -> tuple[str, ...]:
    """Return the names of the files that a text calls for."""
    return tuple(named.stem for named in called_adapters(text))


def plain_words(text: str) -> str:
    """Return what a pasted prompt says of its picture, and any other text as it is.

    One that says nothing but which adapters it calls for is their names.
    """
    names = called_names(text)
    if not names and not _WEIGHT.search(text):
        return text
    return clean_prompt(text) or " ".join(names) or text
