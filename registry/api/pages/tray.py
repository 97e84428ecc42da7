"""What people have chosen to fuse: with what strength, and which base model can draw it all."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from encoder.base_models.facts import common_bases
from registry.retrieval.cards import AdapterCard

# What sliders go to; an author's own strength may lie beyond.
LEAST_STRENGTH, MOST_STRENGTH = 0.0, 2.0


@dataclass(frozen=True, slots=True)
class Chosen:
    """An adapter of an address, with the strength that it names or else the adapter's own."""

    card: AdapterCard
    strength: float

    @property
    def least(self) -> float:
        return min(LEAST_STRENGTH, self.strength)

    @property
    def most(self) -> float:
        return max(MOST_STRENGTH, self.strength)


def tray_of(
    adapter_ids: Sequence[int], strengths: Sequence[float], cards: Sequence[AdapterCard]
) -> list[Chosen]:
    """Return the adapters of an address that exist, in its order; strengths may lack at its end."""
    by_id = {card.id: card for card in cards}
    given = dict(zip(adapter_ids, strengths, strict=False))
    return [
        Chosen(card, given.get(id_, 1.0 if card.strength is None else card.strength))
        for id_ in dict.fromkeys(adapter_ids)
        if (card := by_id.get(id_)) is not None
    ]


def address_without(chosen: Sequence[Chosen], left_out: Chosen, prompt: str) -> str:
    """Return the address of the page that fuses with all that is chosen but one."""
    rest = [one for one in chosen if one is not left_out]
    asked = [("prompt", prompt)] if prompt else []
    asked += [("adapter", str(one.card.id)) for one in rest]
    asked += [("strength", f"{one.strength:g}") for one in rest]
    return f"/fuse?{urlencode(asked)}" if asked else "/fuse"


def drawable_with(base_models: Collection[str]) -> dict[str, list[str]]:
    """Return for each base model those that draw with its adapters, itself first."""
    return {name: common_bases([name]) for name in base_models}


def mark_of(home: Path) -> str:
    """Return what tells the trays of two registries apart that one browser meets at one address."""
    return hashlib.sha256(str(home).encode("utf-8", "surrogateescape")).hexdigest()[:8]
