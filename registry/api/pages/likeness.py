"""What a page's address says of adapters that results should be like, and unlike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.datastructures import URL, QueryParams

from registry.retrieval.cards import AdapterCard
from registry.retrieval.likeness import MOST_EACH, Likes

SIDES = ("like", "unlike")
# What a new question does not keep: where in the old one somebody was.
PLACE = ("cursor", "nearest")


@dataclass(frozen=True, slots=True)
class Chosen:
    """An adapter of an address, with the address of the same question without it."""

    side: str
    card: AdapterCard
    removed_url: str


def add_to(url: URL) -> Callable[[str, int], str | None]:
    """Return what gives the address of the same question with one more adapter on a side.

    None where that side is full. An adapter of the other side changes over.
    """
    given = QueryParams(url.query)

    def added(side: str, adapter_id: int) -> str | None:
        others = [value for value in given.getlist(side) if value != str(adapter_id)]
        if len(others) >= MOST_EACH:
            return None
        return _address(given, adapter_id, (side, str(adapter_id)))

    return added


def chosen(url: URL, likes: Likes, cards: Sequence[AdapterCard]) -> list[Chosen]:
    """Return the adapters of an address, in its order."""
    given = QueryParams(url.query)
    by_id = {card.id: card for card in cards}
    return [
        Chosen(side, by_id[id_], _address(given, id_))
        for side, ids in zip(SIDES, (likes.like, likes.unlike), strict=True)
        for id_ in ids
        if id_ in by_id
    ]


def _address(given: QueryParams, adapter_id: int, *more: tuple[str, str]) -> str:
    kept = [
        (name, value)
        for name, value in given.multi_items()
        if name not in PLACE and not (name in SIDES and value == str(adapter_id))
    ]
    query = str(QueryParams([*kept, *more]))
    return f"/?{query}" if query else "/"
