"""Going through all adapters that filters let through, in an order that people choose.

Pages go on after the last row's own value and id, so that nothing is skipped or seen twice while
adapters come and go. Only one whose own value changes meanwhile may be met again, or not at all:
where it moved over the page's end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any

from sqlalchemy import BigInteger, Row, Select, cast, func, literal, select, tuple_
from sqlalchemy.orm import Session, aliased

from registry.db.models import Listing
from registry.retrieval.cursors import is_bigint, read_cursor, write_cursor
from registry.retrieval.errors import CursorError
from registry.retrieval.filters import Filters, conditions, conditions_by_field
from registry.retrieval.terms import Sort
from registry.text.word_segmentation import clean

# So many are counted, and sorted whole where no index has their order.
MOST_COUNTED = 10_000

# Some 30 ms at a million.
MOST_WALKED = 20_000
# Of `shuffle`, which has 32 bits.
PLACES = 2**32
COLUMNS: dict[Sort, str] = {
    "name": "name",
    "newest": "created_at",
    "updated": "updated_at",
    "downloads": "downloads",
    "size": "size",
    "rank": "rank",
}


@dataclass(frozen=True, slots=True)
class Total:
    """How many adapters there are; when not `exact`, there are more."""

    count: int
    exact: bool = True


@dataclass(frozen=True, slots=True)
class ListedIds:
    """A page of adapters by their ids, and the cursor of the next one."""

    ids: tuple[int, ...]
    total: Total
    next: str | None


def browse(
    session: Session,
    filters: Filters,
    sort: Sort,
    cursor: str | None,
    limit: int,
    *,
    seed: int = 0,
) -> ListedIds:
    """Return up to `limit` ready adapters after `cursor`, which another page gave.

    The total is that of the first page, as the cursor has it. `seed` is of the random order.

    Raises:
        CursorError: the cursor is of another question, or none.
    """
    question = ("browse", filters, sort, seed)
    if cursor is None:
        total, after = count(session, filters), None
    else:
        total, after = _read(question, cursor, sort)
    order = _order(sort, seed, total)
    rows = _rows(session, order, filters, total, after, limit + 1)
    more, rows = len(rows) > limit, rows[:limit]
    following = None
    if more:
        key = rows[-1].key
        said = key.isoformat() if isinstance(key, datetime) else key
        following = write_cursor(question, [total.count, total.exact, said, rows[-1].id])
    return ListedIds(tuple(row.id for row in rows), total, following)


def count(session: Session, filters: Filters) -> Total:
    """Return how many adapters filters let through, counted no further than MOST_COUNTED."""
    some = select(literal(1)).select_from(Listing).where(*conditions(filters))
    counted = session.scalar(
        select(func.count()).select_from(some.limit(MOST_COUNTED + 1).subquery())
    )
    assert counted is not None
    return Total(min(counted, MOST_COUNTED), counted <= MOST_COUNTED)


def in_order(listed: Select[int], sort: Sort, seed: int) -> Select[int]:
    """Sort a selection of few listings."""
    order = _order(sort, seed, Total(0))
    key, id_ = order.key(Listing), Listing.adapter_id
    return listed.order_by(*((key.desc(), id_.desc()) if order.descending else (key, id_)))


def _rows(
    session: Session,
    order: "_Order",
    filters: Filters,
    total: Total,
    after: tuple[Any, int] | None,
    limit: int,
) -> Sequence[Row[Any]]:
    """Return ids and keys of a page.

    The planner has to guess whether to find all and sort them, or to walk an index in their order
    until enough pass, and a wrong guess walks through a million rows for fifty. So of many, an
    index gives its next MOST_WALKED; where too few of those pass, and of few, all are found first.
    """
    if not total.exact:
        walked = _walk(session, order, filters, after, limit)
        if len(walked) == limit:
            return walked
    found = select(Listing.adapter_id.label("id"), order.key(Listing).label("key"))
    all_ = found.where(*conditions(filters)).cte("found").prefix_with("MATERIALIZED")
    page = _page(select(all_.c.id, all_.c.key), all_.c.key, all_.c.id, order.descending, after)
    return session.execute(page.limit(limit)).all()


def _walk(
    session: Session,
    order: "_Order",
    filters: Filters,
    after: tuple[Any, int] | None,
    limit: int,
) -> Sequence[Row[Any]]:
    """Return those that pass of the next MOST_WALKED in an order that an index has."""
    # A bound of what is sorted by is a bound of the walk.
    bounds = conditions_by_field(filters).get(order.sort, ())
    rows = order.stretch(after).where(*bounds).limit(MOST_WALKED).subquery()
    # Conditions stay outside of a subquery with a limit, whose order is kept.
    listing = aliased(Listing, rows)
    passing = select(listing.adapter_id.label("id"), order.key(listing).label("key"))
    page = passing.where(*conditions(filters, listing)).limit(limit)
    return session.execute(page).all()


def _page(
    rows: Any, key: Any, id_: Any, descending: bool, after: tuple[Any, int] | None
) -> Select[Any]:
    """Return rows in their order, after an end."""
    if after is not None:
        place, end = tuple_(key, id_), tuple_(literal(after[0]), literal(after[1]))
        rows = rows.where(place < end if descending else place > end)
    page: Select[Any] = rows.order_by(*((key.desc(), id_.desc()) if descending else (key, id_)))
    return page


@dataclass(frozen=True, slots=True)
class _Order:
    """An order by a column of listings, and equals by id."""

    sort: Sort
    descending: bool = False

    def key(self, of: Any) -> Any:
        return getattr(of, COLUMNS[self.sort])

    def stretch(self, after: tuple[Any, int] | None) -> Select[Any]:
        """Return what an index gives after an end."""
        key = self.key(Listing)
        return _page(select(Listing), key, Listing.adapter_id, self.descending, after)


@dataclass(frozen=True, slots=True)
class _Shuffled(_Order):
    """The order that is kept, from where a seed begins in it, round to there."""

    start: int = 0

    def key(self, of: Any) -> Any:
        return (cast(of.shuffle, BigInteger) - self.start + PLACES) % PLACES

    def stretch(self, after: tuple[Any, int] | None) -> Select[Any]:
        """Return what an index gives after an end, to where the order goes round."""
        key = Listing.shuffle
        if after is not None:
            after = (after[0] + self.start + PLACES // 2) % PLACES - PLACES // 2, after[1]
        is_round = after is not None and after[0] < self.start
        part = key < self.start if is_round else key >= self.start
        return _page(select(Listing).where(part), key, Listing.adapter_id, False, after)


@dataclass(frozen=True, slots=True)
class _Drawn(_Order):
    """An order of a seed's own, which no index has."""

    seed: int = 0

    def key(self, of: Any) -> Any:
        return func.hashint8extended(of.adapter_id, self.seed)


def _order(sort: Sort, seed: int, total: Total) -> _Order:
    if sort != "random":
        return _Order(sort, descending=sort != "name")
    if total.exact:
        return _Drawn(sort, seed=seed)
    digest = blake2b(str(seed).encode(), digest_size=4).digest()
    return _Shuffled(sort, start=int.from_bytes(digest, signed=True))


def _read(question: object, cursor: str, sort: Sort) -> tuple[Total, tuple[Any, int]]:
    """Return the total and the end of the last page; a cursor's own values are not trusted."""
    match read_cursor(question, cursor):
        case [counted, bool(exact), key, id_] if is_bigint(counted) and is_bigint(id_):
            pass
        case _:
            raise CursorError
    if not 0 <= counted <= MOST_COUNTED:
        raise CursorError
    if sort == "name":
        if not isinstance(key, str):
            raise CursorError
        key = clean(key)
    elif sort in ("newest", "updated"):
        key = _read_moment(key)
    elif not is_bigint(key):
        raise CursorError
    return Total(counted, exact), (key, id_)


def _read_moment(key: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(key)
    except (TypeError, ValueError) as error:
        raise CursorError from error
    if moment.tzinfo is None:
        raise CursorError
    return moment
