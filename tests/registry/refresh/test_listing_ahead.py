"""What a hub lists, asked for before it is wanted."""

import threading
from collections.abc import Iterator

import pytest

from crawler.errors import SourceError
from registry.refresh.listing_ahead import ahead


def test_all_comes_in_its_order() -> None:
    assert list(ahead(iter([3, None, 1, 2]), 2)) == [3, None, 1, 2]


def test_the_next_are_taken_while_nobody_asks() -> None:
    taken = threading.Semaphore(0)

    def items() -> Iterator[int]:
        for number in range(10):
            taken.release()
            yield number

    listing = ahead(items(), 3)
    assert next(listing) == 0
    for _ in range(4):
        taken.acquire()
    listing.close()


def test_what_came_before_an_error_is_good() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise SourceError("the hub is down")

    listing = ahead(items(), 10)

    assert next(listing) == 1
    with pytest.raises(SourceError, match="the hub is down"):
        next(listing)


def test_who_stops_does_not_keep_the_thread_waiting() -> None:
    taker = list[threading.Thread]()

    def items() -> Iterator[int]:
        taker.append(threading.current_thread())
        yield from range(100)

    listing = ahead(items(), 1)
    next(listing)
    listing.close()

    taker[0].join(60)
    assert not taker[0].is_alive()
