"""What a stream of server-sent events tells, and when it ends."""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

import httpx
import pytest

from registry.api.app import create_app
from registry.api.errors import StreamsBusyError
from registry.api.limits import Streams
from registry.api.server_events import changes
from registry.errors import DatabaseLostError
from registry.service import Registry
from tests.registry.api.servers import served


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


def test_streams_are_bounded_in_all_and_by_address() -> None:
    streams = Streams(limited=True, most=3, most_each=2)
    with ExitStack() as opened:
        for address in ("a", "a", "b"):
            opened.enter_context(streams.taken(address))
        for address in ("a", "b", "c"):
            with pytest.raises(StreamsBusyError):
                opened.enter_context(streams.taken(address))
    # All have left.
    with streams.taken("a"), streams.taken("a"):
        pass


def test_on_loopback_everybody_is_one_address_and_has_all() -> None:
    streams = Streams(limited=False, most=3, most_each=1)

    with ExitStack() as opened:
        for _ in range(3):
            opened.enter_context(streams.taken("127.0.0.1"))
        with pytest.raises(StreamsBusyError):
            opened.enter_context(streams.taken("127.0.0.1"))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_who_leaves_a_stream_makes_room_for_the_next(registry: Registry, method: str) -> None:
    app = create_app(registry)
    app.state.streams = Streams(limited=True, most=1)
    waiting = registry.images.ask([{"prompt": "a fox"}])[0].id
    path = f"/v1/images/{waiting}/events"
    with served(app) as (host, port), httpx.Client(base_url=f"http://{host}:{port}") as client:
        with client.stream(method, path) as first:
            assert first.status_code == 200
            refused = client.get(path)
            pages = [client.get("/indexing/events"), client.get("/folders/events")]
        # The server learns a little later that the line is closed.
        for _ in range(600):
            if (after := client.get("/indexing/events")).status_code == 200:
                break
            time.sleep(0.05)

    assert after.status_code == 200
    assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
    assert refused.json()["type"] == "urn:autolora:problem:streams-busy"
    assert [page.status_code for page in pages] == [503, 503]
