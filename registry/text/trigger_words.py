"""The trigger words that a prompt lacks."""

from collections.abc import Sequence
from typing import Protocol

from crawler.foreign_text import plain_line
from crawler.hub_text import without_escapes


class HasTriggers(Protocol):
    @property
    def trigger_words(self) -> Sequence[str]: ...


def missing_triggers(prompt: str, adapters: Sequence[HasTriggers]) -> list[tuple[str, ...]]:
    r"""Return by adapter the trigger words to add to a prompt: the first, unless it is there.

    Only the first, since hubs list alternatives and the usual one comes first. On one line,
    whoever it comes from: a line break would begin a setting where prompts are pasted. Here
    parentheses are plain, so what hubs escape for other programs, as in `saber \(fate\)`, is not.
    """
    known, added = without_escapes(prompt).lower(), []
    for adapter in adapters:
        first = (without_escapes(plain_line(word)) for word in adapter.trigger_words[:1])
        words = tuple(word for word in first if word and word.lower() not in known)
        known = ", ".join([known, *words]).lower()
        added.append(words)
    return added
