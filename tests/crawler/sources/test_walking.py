"""How listings are walked, whichever hub's they are."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from crawler.errors import GoneError, SourceError
from crawler.records import AdapterRecord, Refusal
from crawler.sources.walking import (
    REPEATED_PAGES,
    ListedItem,
    changed_since,
    oldest_first,
    read_each,
)

DAY = datetime(2026, 1, 1, tzinfo=UTC)


def item(number: int, *, wanted: bool = True) -> ListedItem:
    """An item that changed on this day."""
    return ListedItem(f"r{number}", DAY + timedelta(days=number), wanted)


def pages(*numbers: list[int]) -> list[list[ListedItem]]:
    return [[item(number) for number in page] for page in numbers]


def names(found: dict[str, datetime]) -> list[str]:
    return [listed.repo for listed in oldest_first(found)]


def test_what_changed_since_comes_oldest_first() -> None:
    found = changed_since("Hub", pages([9, 8], [7, 6], [5, 4]), item(6).updated_at)

    assert names(found) == ["r6", "r7", "r8", "r9"]


def test_the_walk_ends_with_a_page_that_is_older_as_a_whole() -> None:
    """One item out of place ends nothing."""
    asked = []

    def listing() -> Iterator[list[ListedItem]]:
        for page in pages([9, 2], [8, 7], [3, 1], [0]):
            asked.append(page)
            yield page

    assert names(changed_since("Hub", listing(), item(5).updated_at)) == ["r7", "r8", "r9"]
    assert len(asked) == 3


def test_what_is_not_wanted_still_tells_where_the_walk_is() -> None:
    listing = [[item(9, wanted=False), item(8)], [item(1, wanted=False)], [item(7)]]

    assert names(changed_since("Hub", listing, item(5).updated_at)) == ["r8"]


def test_a_listing_in_another_order_is_noticed() -> None:
    """Going on from a cursor would leave out what changed."""
    with pytest.raises(SourceError, match="newest change first"):
        changed_since("Hub", pages([1, 2, 3, 4, 5]), DAY)


def test_an_item_out_of_place_is_not_another_order() -> None:
    found = changed_since("Hub", pages([2, 9, 8, 7, 6, 5, 4]), item(1).updated_at)

    assert len(found) == 7


def test_without_a_cursor_any_order_will_do() -> None:
    assert names(changed_since("Hub", pages([1, 2], [3]), None)) == ["r1", "r2", "r3"]


def test_pages_that_go_round_are_left() -> None:
    with pytest.raises(SourceError, match="repeats itself"):
        changed_since("Hub", pages([3, 2]) * (REPEATED_PAGES + 1), None)


def test_what_may_be_read_another_time_says_from_when() -> None:
    """A cursor that went by it would lose it; what is broken at the hub holds up nothing."""
    asked: list[str] = []

    def read(listed: ListedItem) -> list[AdapterRecord]:
        asked.append(listed.repo)
        if listed.repo == "r1" or asked.count("r3") == 1:
            raise SourceError("a moment, please", retryable=True)
        if listed.repo == "r2":
            raise GoneError("not there")
        return []

    told = list(read_each("hub", [item(1), item(2), item(3)], read, lambda _: True))

    assert asked == ["r1", "r2", "r3", "r1", "r3"]
    assert [(one.repo, one.again_from) for one in told if isinstance(one, Refusal)] == [
        ("r1", item(1).updated_at),
        ("r2", None),
        ("r3", item(3).updated_at),
    ]


def test_what_failed_is_told_of_at_once() -> None:
    """Whoever listens may be stopped, and the hub may fail for good."""

    def read(listed: ListedItem) -> list[AdapterRecord]:
        raise SourceError("away", retryable=True)

    told: list[Refusal] = []

    def listen() -> None:
        items = [item(number) for number in range(9)]
        for one in read_each("hub", items, read, lambda _: True):
            assert isinstance(one, Refusal)
            told.append(one)

    with pytest.raises(SourceError, match="away"):
        listen()

    assert [one.repo for one in told] == ["r0", "r1"]
