"""Lists that are found whole, such as what is similar to an adapter: sorted and paged like all.

The first page settles the order, and the others go on in it: their cursor carries the ids that are
still to come.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.db.models import Listing
from registry.retrieval.browsing import in_order
from registry.retrieval.cursors import is_bigint, read_cursor, write_cursor
from registry.retrieval.errors import CursorError
from registry.retrieval.given_values import Paging

# Their ids fit into an address.
MOST_FOUND = 100


@dataclass(frozen=True, slots=True)
class FoundPage:
    """A page's ids, how many the whole list has, and the cursor to go on with."""

    ids: tuple[int, ...]
    total: int
    next: str | None


def page_of(
    session: Session, question: Sequence[object], found: Sequence[int], paging: Paging
) -> FoundPage:
    """Return a page of what was `found` for `question`, the most relevant first.

    Raises:
        CursorError: the cursor is of another question, or none.
        FilterError: there is no such sort or page.
    """
    paging = paging.checked()
    asked = (*question, paging.sort, paging.seed)
    if paging.cursor is not None:
        total, ids = _read(asked, paging.cursor)
        # What is found no more is gone, or has become something else.
        still = set(found)
        ids = [id_ for id_ in ids if id_ in still]
    else:
        ids = list(found)
        if paging.sort != "relevance":
            listed = select(Listing.adapter_id).where(Listing.adapter_id.in_(ids))
            ordered = session.scalars(in_order(listed, paging.sort, paging.seed)).all()
            # What is refused has no listing, and comes last.
            ids = list(dict.fromkeys([*ordered, *ids]))
        total = len(ids)
    to_come = ids[paging.limit :]
    following = write_cursor(asked, [total, to_come]) if to_come else None
    return FoundPage(tuple(ids[: paging.limit]), total, following)


def _read(question: object, cursor: str) -> tuple[int, list[int]]:
    match read_cursor(question, cursor):
        case [total, list(ids)] if all(map(is_bigint, (total, *ids))):
            return total, ids
        case _:
            raise CursorError
