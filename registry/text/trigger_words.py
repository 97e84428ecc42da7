"""The trigger words that a prompt lacks."""

import re
from collections.abc import Sequence
from typing import Protocol

from crawler.foreign_text import plain_line
from crawler.hub_text import without_escapes
from encoder.chinese import UNSPACED

# A letter of scripts in which words have spaces between them.
_LETTER = rf"[^\W{UNSPACED}]"


class HasTriggers(Protocol):
    @property
    def trigger_words(self) -> Sequence[str]: ...


def missing_triggers(prompt: str, adapters: Sequence[HasTriggers]) -> list[tuple[str, ...]]:
    r"""Return by adapter the trigger words to add to a prompt: the first, unless it is there.

    Only the first, since hubs list alternatives and the usual one comes first. It is there as a
    word by itself: ink is not in "pink", though 水墨 is in 水墨画. On one line, whoever it comes
    from: a line break would begin a setting where prompts are pasted. Here parentheses are plain,
    so what hubs escape for other programs, as in `saber \(fate\)`, is not.
    """
    known, added = without_escapes(prompt).lower(), []
    for adapter in adapters:
        first = (without_escapes(plain_line(word)) for word in adapter.trigger_words[:1])
        words = tuple(word for word in first if word and not _is_in(known, word.lower()))
        known = ", ".join([known, *words]).lower()
        added.append(words)
    return added


def _is_in(prompt: str, word: str) -> bool:
    before = rf"(?<!{_LETTER})" if re.match(_LETTER, word) else ""
    after = rf"(?!{_LETTER})" if re.match(_LETTER, word[-1]) else ""
    return re.search(f"{before}{re.escape(word)}{after}", prompt) is not None
