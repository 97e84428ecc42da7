"""Server-sent events: whatever changes of something that is under way, until it is at rest."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple, TypeVar

from fastapi.concurrency import run_in_threadpool
from fastapi.sse import ServerSentEvent

from crawler.errors import AutoLoraError
from registry.api.deps import RegistryDep
from registry.api.errors import log_hidden

T = TypeVar("T")

# How often it is looked whether there is something to tell; a part of a page costs more to make.
LOOK_SECONDS = 0.3
LOOK_AT_PART_SECONDS = 1.0


class Part(NamedTuple):
    """HTML that stands in a page, and whether nothing of it is under way any more."""

    html: str
    is_last: bool


def check_database(registry: RegistryDep) -> None:
    """Raise what is wrong with the database while an answer can still say so."""
    registry.runs(limit=1)


async def changes(
    look: Callable[[], T],
    is_last: Callable[[T], bool],
    closing: threading.Event,
    seconds: float = LOOK_SECONDS,
) -> AsyncIterator[T]:
    """Yield what `look` returns whenever that is another, up to the first that is the last.

    Between two looks no thread and no connection of the database is held. It ends early, without
    a last one, when the server stops (`closing`), and where a look fails: who asks again is told
    why, as an answer that has begun cannot.
    """
    told: T | None = None
    while not closing.is_set():
        try:
            seen = await run_in_threadpool(look)
        except AutoLoraError as error:
            log_hidden("server-sent events", error)
            return
        if seen != told:
            yield seen
        if is_last(seen):
            return
        told = seen
        await asyncio.sleep(seconds)


async def tell_part(
    look: Callable[[], Part], closing: threading.Event
) -> AsyncIterator[ServerSentEvent]:
    """Tell what a part of a page looks like by now: events `changed`, and `last` as the last."""
    async for part in changes(look, lambda part: part.is_last, closing, LOOK_AT_PART_SECONDS):
        yield ServerSentEvent(raw_data=part.html, event="last" if part.is_last else "changed")
