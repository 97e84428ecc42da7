"""What routes are given: the one registry, and the queue in front of its studio."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool

from registry.api.drawing import Desk
from registry.api.folder_keeper import FolderKeeper
from registry.api.queue import GenerationQueue
from registry.errors import DatabaseBusyError, RegistryError
from registry.service import Registry

# Requests that may ask the database at once: as many as it has connections for. Each takes one
# of the 40 threads [1] that static files need too, so a database that hangs must not get all.
# - [1] https://anyio.readthedocs.io/en/stable/threads.html
MOST_ASKING = 20
# Requests that may have something of the blob store at once, which may be a bucket that hangs: with
# those above they leave some threads to static files.
MOST_FETCHING = 10
WAIT_SECONDS = 10

T = TypeVar("T")


class Places:
    """How many requests may do a thing at once; the others wait a little, and give up."""

    def __init__(
        self,
        most: int = MOST_ASKING,
        wait_seconds: float = WAIT_SECONDS,
        error: type[RegistryError] = DatabaseBusyError,
    ) -> None:
        self._free = asyncio.Semaphore(most)
        self._wait_seconds = wait_seconds
        self._error = error

    async def take(self) -> None:
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._free.acquire()
        except TimeoutError as error:
            raise self._error from error

    def give_back(self) -> None:
        self._free.release()

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Have a place while the block runs."""
        await self.take()
        try:
            yield
        finally:
            self.give_back()

    async def run(self, work: Callable[[], T]) -> T:
        """Have a thread do a thing, with a place meanwhile."""
        async with self.taken():
            return await run_in_threadpool(work)


# Coroutines, though they wait for nothing: FastAPI has a thread run each dependency that is none.
async def _registry(request: Request) -> Registry:
    registry: Registry = request.app.state.registry
    return registry


async def _registry_in_turn(request: Request) -> AsyncIterator[Registry]:
    places: Places = request.app.state.places
    async with places.taken():
        yield await _registry(request)


async def _asking(request: Request) -> Places:
    places: Places = request.app.state.places
    return places


async def _fetching(request: Request) -> Places:
    places: Places = request.app.state.blob_places
    return places


async def _keeper(request: Request) -> FolderKeeper:
    keeper: FolderKeeper = request.app.state.keeper
    return keeper


async def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


async def _queue(request: Request) -> GenerationQueue:
    queue: GenerationQueue = request.app.state.queue
    return queue


# For a route that asks the database while it runs. What it answers is sent without the place:
# a slow reader of a large file keeps nobody waiting.
RegistryDep = Annotated[Registry, Depends(_registry_in_turn, scope="function")]
# For one that only hands the registry on, or takes places for parts of what it does: for a question
# to the database, and for what may have to come from a bucket.
OpenRegistryDep = Annotated[Registry, Depends(_registry)]
AskingDep = Annotated[Places, Depends(_asking)]
FetchingDep = Annotated[Places, Depends(_fetching)]
KeeperDep = Annotated[FolderKeeper, Depends(_keeper)]
DeskDep = Annotated[Desk, Depends(_desk)]
QueueDep = Annotated[GenerationQueue, Depends(_queue)]
