"""What a page's address says of adapters that results should be like, and unlike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from registry.api.pages.addresses import Address
from registry.retrieval.cards import AdapterCard
from registry.retrieval.given_values import MOST_LIKES, Likes

SIDES = ("like", "unlike")
NAMES = (*SIDES, "unlike_text")
FRONT = Address("/", ())


@dataclass(frozen=True, slots=True)
class Liked:
    """An adapter of an address, with the address of the same question without it."""

    side: str
    card: AdapterCard
    removed_url: str


def add_to(address: Address) -> Callable[[str, int], str | None]:
    """Return what gives the address of the same question with one more adapter on a side.

    None where that side is full, or nothing would be left for results to be like. An adapter of
    the other side changes over.
    """

    def added(side: str, adapter_id: int) -> str | None:
        rest = _without(address, adapter_id)
        says_like = side == "like" or any(name in ("q", "like") for name, _ in rest.asked)
        if not says_like or sum(name == side for name, _ in rest.asked) >= MOST_LIKES:
            return None
        return rest.adding(side, str(adapter_id))

    return added


def liked(address: Address, likes: Likes, cards: Sequence[AdapterCard]) -> list[Liked]:
    """Return the adapters of an address, in its order."""
    by_id = {card.id: card for card in cards}
    return [
        Liked(side, by_id[id_], address.removing(side, str(id_)))
        for side, ids in zip(SIDES, (likes.like, likes.unlike), strict=True)
        for id_ in ids
        if id_ in by_id
    ]


def _without(address: Address, adapter_id: int) -> Address:
    kept = (pair for pair in address.asked if not (pair[0] in SIDES and pair[1] == str(adapter_id)))
    return Address(address.path, tuple(kept))
