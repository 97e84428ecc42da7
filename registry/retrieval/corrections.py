"""Misspelt words of a question -> the words that were meant.

A word that nobody uses is a typo of one that somebody does, or a word of what nobody has named, a
name often. A dictionary tells English words, and the text encoder names, mostly: what was meant
(`gradient`) lies farther from gibberish for it than what was typed (`gradiant`).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy.orm import Session

from encoder.chinese import UNSPACED
from encoder.text_encoder import TextEncoder
from registry.retrieval.resembling import Resembling
from registry.retrieval.splitting import split
from registry.retrieval.strangers import strangers_of
from registry.text.translations import is_english
from registry.text.word_segmentation import query_words

# Of `gihbli风格的猫` only gihbli.
_QUOTED_OR_WORD = re.compile(rf"\"[^\"]*\"|“[^”]*”|[^\W\d_{UNSPACED}]+")


class _Slip(NamedTuple):
    """A word as it stands in a question and as words are kept, and what was meant, likewise."""

    typed: str
    right: str
    stem: str
    right_stem: str


def corrections(
    session: Session, text: str, alike: Iterable[Resembling], text_encoder: TextEncoder
) -> dict[str, str]:
    """Return which words of a text are misspelt, as they stand there, each with what was meant.

    `alike` are the words that those which nobody uses may be typos of.
    """
    meant = _most_alike(session, alike)
    slips = [slip for word in _words(text) if (slip := _slip(word, meant)) is not None]
    means_nothing = _nonsense([one for slip in slips for one in slip], text_encoder)

    return {
        slip.typed: slip.right
        for slip in slips
        if means_nothing[slip.right] < means_nothing[slip.typed]
        or means_nothing[slip.right_stem] < means_nothing[slip.stem]
    }


def put_right(text: str, corrected: Mapping[str, str]) -> str:
    """Return `text` with what was meant for misspelt words."""
    return _QUOTED_OR_WORD.sub(lambda match: corrected.get(match[0], match[0]), text)


def _most_alike(session: Session, alike: Iterable[Resembling]) -> dict[str, str]:
    """Return words that nobody uses, each with the one that resembles it most."""
    by_word: dict[str, list[Resembling]] = {}
    for one in alike:
        by_word.setdefault(one.word, []).append(one)
    # `pixelart` is no misspelt word.
    two_words = {one.word for one in split(session, [*by_word])}
    return {
        word: max(own, key=lambda one: one.closeness).meant
        for word, own in by_word.items()
        # Filters leave nobody who uses it, and that is no slip.
        if word not in two_words and all(one.meant != word for one in own)
    }


def _words(text: str) -> list[str]:
    """Return the words of a text once each, but for what is quoted."""
    found = dict.fromkeys(_QUOTED_OR_WORD.findall(text))
    return [one for one in found if one[0] not in '"“']


def _slip(word: str, meant: Mapping[str, str]) -> _Slip | None:
    stem = next((own.text for own in query_words(word)), "")
    if stem not in meant or is_english(word.lower()) or is_english(stem):
        return None
    # Who types on has not ended, and blocky is of blocks.
    if stem.startswith(meant[stem]) or meant[stem].startswith(stem):
        return None
    plural = "s" if word.lower() == f"{stem}s" else ""
    return _Slip(word, meant[stem] + plural, stem, meant[stem])


def _nonsense(words: Sequence[str], text_encoder: TextEncoder) -> dict[str, float]:
    """Return how near gibberish each word is."""
    if not words:
        return {}
    gibberish_of = strangers_of(text_encoder).gibberish_of
    embedded = text_encoder.encode(words)
    return {word: gibberish_of(own) for word, own in zip(words, embedded, strict=True)}
