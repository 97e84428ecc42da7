"""What was found whole is sorted and paged like everything."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.orm import Session

from registry.retrieval.cursors import write_cursor
from registry.retrieval.errors import CursorError, FilterError, OtherQuestionError
from registry.retrieval.found import page_of
from registry.retrieval.given_values import Paging
from registry.retrieval.terms import FOUND_SORTS, FoundSort, Maturity
from registry.service import Registry
from tests.builders import add_adapter
from tests.registry.conftest import add_real_encoder, embed

ASKED = ("similar", 1)


@pytest.fixture
def found(session: Session) -> list[int]:
    """Seven ready adapters and one that is not, the most relevant first."""
    ready = [add_adapter(session, name=f"{n % 3}", downloads=n % 4).id for n in range(7)]
    return [ready[3], *ready[:3], add_adapter(session, state="refused").id, *ready[4:]]


def pages(
    session: Session,
    found: list[int],
    sort: FoundSort,
    meanwhile: Callable[[list[int]], object] = lambda _: None,
) -> list[int]:
    seen: list[int] = []
    cursor = None
    while True:
        page = page_of(session, ASKED, found, Paging(3, cursor, sort, seed=5))
        seen += page.ids
        if page.next is None:
            return seen
        cursor = page.next
        meanwhile(found)


@pytest.mark.parametrize("sort", FOUND_SORTS)
def test_pages_hold_each_once(session: Session, found: list[int], sort: FoundSort) -> None:
    whole = page_of(session, ASKED, found, Paging(100, sort=sort, seed=5))

    assert pages(session, found, sort) == list(whole.ids)
    assert sorted(whole.ids) == sorted(found)
    assert (whole.total, whole.next) == (8, None)


def test_relevance_is_the_order_that_was_found(session: Session, found: list[int]) -> None:
    assert pages(session, found, "relevance") == found


def test_a_list_that_changes_neither_skips_nor_repeats(session: Session, found: list[int]) -> None:
    before = list(found)

    def shift(now: list[int]) -> None:
        now.insert(0, add_adapter(session).id)
        now.pop()

    seen = pages(session, found, "name", shift)

    assert len(set(seen)) == len(seen)
    assert set(found) & set(before) <= set(seen) <= set(before)


def test_cursors_are_checked(session: Session, found: list[int]) -> None:
    cursor = page_of(session, ASKED, found, Paging(limit=2)).next

    with pytest.raises(OtherQuestionError):
        page_of(session, ("similar", 2), found, Paging(cursor=cursor))
    with pytest.raises(OtherQuestionError):
        page_of(session, ASKED, found, Paging(cursor=cursor, sort="name"))
    for odd in (Paging(sort="odd"), Paging(limit=0)):  # type: ignore[arg-type]
        with pytest.raises(FilterError):
            page_of(session, ASKED, found, odd)
    for odd_id in ("x", True, 10**30):
        made_up = write_cursor((*ASKED, "relevance", 0), [3, [odd_id]])  # type: ignore[list-item]
        with pytest.raises(CursorError):
            page_of(session, ASKED, found, Paging(cursor=made_up))


def test_similar_adapters_go_on_where_a_page_ended(registry: Registry) -> None:
    add_real_encoder(registry)
    with registry.sessions.begin() as session:
        texts = ["a fox", "a wolf", "a dog", "a steam locomotive"]
        fox, *others = (add_adapter(session, embedding=embed(registry, t)).id for t in texts)

    first = registry.similar(fox, Paging(limit=2))
    second = registry.similar(fox, Paging(limit=2, cursor=first.next))

    whole = registry.similar(fox)
    shown = [result.card.id for page in (first, second) for result in page.results]
    assert shown == [result.card.id for result in whole.results]
    assert sorted(shown) == others
    assert (first.total, second.next) == (3, None)


def test_similar_adapters_are_not_mature_where_those_are_hidden(registry: Registry) -> None:
    """And a page's cursor is of the same question alone."""
    add_real_encoder(registry)
    with registry.sessions.begin() as session:
        fox, wolf, rude = (
            add_adapter(session, embedding=embed(registry, text), mature=mature).id
            for text, mature in (("a fox", False), ("a wolf", None), ("a dog", True))
        )

    def shown(mature: Maturity) -> list[int]:
        return sorted(one.card.id for one in registry.similar(fox, mature=mature).results)

    assert shown("hide") == [wolf]
    assert shown("only") == [rude]
    assert shown("any") == [wolf, rude]
    page = registry.similar(fox, Paging(limit=1))
    with pytest.raises(OtherQuestionError):
        registry.similar(fox, Paging(limit=1, cursor=page.next), mature="hide")


def test_a_word_for_hiding_mature_adapters_hides_them_or_is_refused(registry: Registry) -> None:
    """One that is not known would show them without a word."""
    add_real_encoder(registry)
    with registry.sessions.begin() as session:
        embedding = embed(registry, "a fox")
        fox = add_adapter(session, embedding=embedding).id
        add_adapter(session, embedding=embedding, mature=True)
    shouted: Any = "Hide"
    odd: Any = "odd"

    assert not registry.similar(fox, mature=shouted).results
    assert [choice.card.id for choice in registry.choose("a fox", 2, mature=shouted)] == [fox]
    with pytest.raises(FilterError, match="it is one of any, hide, only"):
        registry.similar(fox, mature=odd)
    with pytest.raises(FilterError, match="it is one of any, hide, only"):
        registry.choose("a fox", mature=odd)


def test_similar_adapters_are_others_each_once(registry: Registry) -> None:
    """A file that two hubs list is one adapter: neither its own kin nor two of another's."""
    add_real_encoder(registry)
    with registry.sessions.begin() as session:
        fox = add_adapter(session, embedding=embed(registry, "a fox"))
        wolf = add_adapter(session, embedding=embed(registry, "a wolf"))
        again = [
            add_adapter(session, file_sha256=one.file_sha256, hub="civitai").id
            for one in (fox, wolf)
        ]

    [result] = registry.similar(fox.id).results

    assert result.card.id in (wolf.id, again[1])
    assert len(result.also) == 1
    assert {result.card.id, result.also[0].id} == {wolf.id, again[1]}


def test_duplicates_go_on_where_a_page_ended(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        first = add_adapter(session)
        copies = [add_adapter(session, file_sha256=first.file_sha256).id for _ in range(3)]

    page = registry.duplicates(first.id, Paging(limit=2))
    rest = registry.duplicates(first.id, Paging(limit=2, cursor=page.next))

    assert [result.card.id for result in (*page.results, *rest.results)] == copies
    assert (page.total, rest.next) == (3, None)


def test_a_list_is_asked_for_as_there_are(registry: Registry) -> None:
    for odd in ({"sort": "odd"}, {"limit": 0}, {"state": "odd"}):
        with pytest.raises(FilterError, match=next(iter(odd))):
            registry.browse(**odd)
