"""Browsing: every order, page by page, while the index changes."""

import random
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text, update
from sqlalchemy.orm import Session

from registry.db.models import Adapter, File
from registry.retrieval import browsing
from registry.retrieval.browsing import Total, browse, count
from registry.retrieval.cursors import write_cursor
from registry.retrieval.errors import CursorError, FilterError, OtherQuestionError
from registry.retrieval.filters import Filters
from registry.retrieval.other_states import browse_state
from registry.retrieval.terms import SORTS, Sort
from tests.builders import LONG_AGO, add_adapter

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def add_many(session: Session, number: int) -> list[Adapter]:
    """Add adapters that differ in all that is sorted by, and agree in some."""
    rng = random.Random(7)
    added = []
    for _ in range(number):
        adapter = add_adapter(
            session,
            name=rng.choice(["Fox", "fox", "狐狸", "Ärger", "", "zebra"]),
            author=rng.choice(["ann", "bob"]),
            downloads=rng.randrange(4),
            hub_created_at=LONG_AGO + timedelta(days=rng.randrange(3)),
            hub_updated_at=NOW + timedelta(microseconds=rng.randrange(4)),
        )
        values = {"size": rng.randrange(3), "verdict": {"ranks": rng.choice([[], [4, 8, 16]])}}
        session.execute(update(File).where(File.sha256 == adapter.file_sha256).values(**values))
        added.append(adapter)
    return added


def pages(
    session: Session,
    sort: Sort,
    filters: Filters = Filters(),  # noqa: B008 (frozen)
    *,
    limit: int = 3,
    seed: int = 0,
    meanwhile: Callable[[], object] = lambda: None,
) -> list[int]:
    """Return the ids of all pages; `meanwhile` is done after each."""
    seen: list[int] = []
    cursor = None
    while True:
        page = browse(session, filters, sort, cursor, limit, seed=seed)
        seen += page.ids
        cursor = page.next
        if cursor is None:
            return seen
        assert len(page.ids) == limit
        meanwhile()


@pytest.fixture(params=["few", "many", "far"])
def scale(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every way of finding a page: sorted whole, walked by an index, or walked in vain first."""
    if request.param != "few":
        monkeypatch.setattr(browsing, "MOST_COUNTED", 5)
    if request.param == "far":
        monkeypatch.setattr(browsing, "MOST_WALKED", 2)
    return str(request.param)


def test_pages_of_every_order_hold_each_adapter_once(session: Session, scale: str) -> None:
    ids = {adapter.id for adapter in add_many(session, 20)}
    add_adapter(session, state="refused")

    for sort in SORTS:
        whole = browse(session, Filters(), sort, None, 100)
        seen = pages(session, sort)

        assert list(whole.ids) == seen, sort
        assert len(seen) == len(ids), sort
        assert set(seen) == ids, sort
        assert whole.next is None, sort


def test_pages_of_every_order_pass_filters(session: Session, scale: str) -> None:
    anns = {adapter.id for adapter in add_many(session, 24) if adapter.author == "ann"}

    for sort in SORTS:
        seen = pages(session, sort, Filters(authors=("ANN",)), limit=2)

        assert sorted(seen) == sorted(anns), sort


def test_orders_are_what_they_are_called(session: Session, scale: str) -> None:
    added = {adapter.id: adapter for adapter in add_many(session, 20)}
    orders: dict[Sort, Callable[[Adapter], object]] = {
        "newest": lambda adapter: adapter.hub_created_at,
        "updated": lambda adapter: adapter.hub_updated_at,
        "downloads": lambda adapter: adapter.downloads,
    }

    for sort, key in orders.items():
        seen = [(key(added[id_]), id_) for id_ in pages(session, sort)]
        assert seen == sorted(seen, reverse=True)
    by_name = [added[id_].name.lower() for id_ in pages(session, "name")]
    assert by_name[0] == ""
    assert by_name == sorted(by_name, key=by_name.index), "equal names stand together"


@pytest.mark.parametrize("sort", SORTS)
def test_what_comes_and_goes_neither_shifts_nor_repeats(
    session: Session, scale: str, sort: Sort
) -> None:
    """Each of those that stay is seen once."""
    stay = {adapter.id for adapter in add_many(session, 15)}
    go = [adapter.id for adapter in add_many(session, 6)]

    def meanwhile() -> None:
        add_many(session, 2)
        if go:
            session.execute(update(Adapter).where(Adapter.id == go.pop()).values(state="gone"))

    seen = pages(session, sort, limit=4, meanwhile=meanwhile)

    assert len(set(seen)) == len(seen)
    assert stay <= set(seen)


def test_the_random_order_is_its_seeds(session: Session, scale: str) -> None:
    add_many(session, 20)

    orders = {seed: pages(session, "random", seed=seed) for seed in range(4)}

    assert orders[0] == pages(session, "random", seed=0, limit=7)
    assert len({tuple(order) for order in orders.values()}) > 1
    assert orders[0] != sorted(orders[0])


def test_totals_are_exact_up_to_a_bound(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    add_many(session, 6)

    assert count(session, Filters()) == Total(6)
    monkeypatch.setattr(browsing, "MOST_COUNTED", 6)
    assert count(session, Filters()) == Total(6)
    monkeypatch.setattr(browsing, "MOST_COUNTED", 5)
    assert count(session, Filters()) == Total(5, exact=False)
    assert count(session, Filters(authors=("nobody",))) == Total(0)


def test_a_cursor_of_another_order_is_refused(session: Session) -> None:
    add_many(session, 5)
    cursor = browse(session, Filters(), "name", None, 2).next

    for filters, sort, seed in (
        (Filters(), "size", 0),
        (Filters(authors=("ann",)), "name", 0),
        (Filters(), "name", 1),
    ):
        with pytest.raises(OtherQuestionError):
            browse(session, filters, sort, cursor, 2, seed=seed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sort", "position"),
    [
        ("size", [1, True, "x", 1]),
        ("size", [1, True, 2**70, 1]),
        ("size", [1, True, 1, 2**70]),
        ("size", [1, True, True, 1]),
        ("size", [1, True, 1, True]),
        ("size", [True, True, 1, 1]),
        ("size", [1, True, 1]),
        ("size", [-1, True, 1, 1]),
        ("size", ["1", True, 1, 1]),
        ("name", [1, True, 7, 1]),
        ("newest", [1, True, "tomorrow", 1]),
        ("newest", [1, True, 7, 1]),
        ("newest", [1, True, "2026-01-01", 1]),
        ("random", [1, False, None, 1]),
    ],
)
def test_a_position_that_nobody_gave_is_refused(
    session: Session, sort: Sort, position: list[Any]
) -> None:
    cursor = write_cursor(("browse", Filters(), sort, 0), position)

    with pytest.raises(CursorError):
        browse(session, Filters(), sort, cursor, 2)


def test_a_name_that_postgresql_cannot_hold_ends_no_page(session: Session) -> None:
    add_many(session, 3)
    cursor = write_cursor(("browse", Filters(), "name", 0), [3, True, "\0\ud800", 1])

    browse(session, Filters(), "name", cursor, 2)


def test_other_states_are_listed_by_what_is_known_of_them(session: Session) -> None:
    ids = [
        add_adapter(session, state="refused", author="Ann", tags=["Red"], base_model="pony").id
        for _ in range(5)
    ]
    add_adapter(session, state="refused", author="bob")
    add_adapter(session, author="ann")
    filters = Filters(("Pony",), families=("sdxl",), authors=("ann",), tags=("red",))

    first = browse_state(session, "refused", filters, None, 3)
    second = browse_state(session, "refused", filters, first.next, 3)

    assert [*first.ids, *second.ids] == ids[::-1]
    assert (first.total, second.total, second.next) == (Total(5), Total(5), None)
    with pytest.raises(FilterError, match="cannot be filtered by min_rank"):
        browse_state(session, "refused", Filters(min_rank=4), None, 3)
    with pytest.raises(OtherQuestionError):
        browse_state(session, "gone", filters, first.next, 3)
    for below in (True, 10**30):
        made_up = write_cursor(("state", "refused", filters), [5, True, below])
        with pytest.raises(CursorError):
            browse_state(session, "refused", filters, made_up, 3)


@pytest.mark.parametrize("sort", SORTS)
def test_every_order_has_an_index_to_walk(session: Session, sort: Sort) -> None:
    """From its beginning, and from where a page ended."""
    session.execute(text("SET LOCAL enable_sort = off"))
    session.execute(text("SET LOCAL enable_seqscan = off"))
    order = browsing._order(sort, 0, Total(0, exact=False))
    end = {"name": "fox", "newest": NOW, "updated": NOW}.get(sort, 7)

    for after in (None, (end, 1)):
        walk = order.stretch(after).limit(5)
        query = walk.compile(session.get_bind(), compile_kwargs={"literal_binds": True})
        rows = session.connection().exec_driver_sql(f"EXPLAIN {query}".replace("%", "%%"))
        plan = "\n".join(rows.scalars())

        assert "Sort" not in plan
        assert re.search(r"Index Scan (Backward )?using ix_listings_", plan), plan
        if after is not None:
            assert "Index Cond" in plan
