"""The trigger words that a prompt lacks."""

from collections.abc import Sequence
from typing import Protocol


class HasTriggers(Protocol):
    @property
    def trigger_words(self) -> Sequence[str]: ...


def missing_triggers(prompt: str, adapters: Sequence[HasTriggers]) -> list[tuple[str, ...]]:
    """Return by adapter the trigger words to add to a prompt: the first, unless it is there.

    Only the first, since hubs list alternatives and the usual one comes first.
    """
    known, added = prompt.lower(), []
    for adapter in adapters:
        words = tuple(w for w in adapter.trigger_words[:1] if w and w.lower() not in known)
        known = ", ".join([known, *words]).lower()
        added.append(words)
    return added
