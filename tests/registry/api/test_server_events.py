"""What a stream of server-sent events tells, and when it ends."""

import asyncio
import threading
from collections.abc import Callable

from registry.api.server_events import changes
from registry.errors import DatabaseLostError


def told(look: Callable[[], int], closing: threading.Event) -> list[int]:
    """Return what is told of numbers, of which three is the last."""

    async def all_of_them() -> list[int]:
        return [seen async for seen in changes(look, lambda seen: seen == 3, closing, seconds=0)]

    return asyncio.run(all_of_them())


def test_only_what_changes_is_told_up_to_the_last() -> None:
    seen = iter([1, 1, 2, 2, 1, 3, 4])

    assert told(lambda: next(seen), threading.Event()) == [1, 2, 1, 3]
    assert next(seen) == 4


def test_a_server_that_stops_ends_it_before_the_last() -> None:
    closing = threading.Event()

    def look() -> int:
        closing.set()
        return 1

    assert told(look, closing) == [1]


def test_what_cannot_be_looked_at_any_more_ends_it_before_the_last() -> None:
    """An answer that has begun cannot say why; who asks again is told."""
    seen = iter([1, 2])

    def look() -> int:
        try:
            return next(seen)
        except StopIteration as error:
            raise DatabaseLostError("it went away") from error

    assert told(look, threading.Event()) == [1, 2]
