"""Images are made one at a time, and only so many may wait."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from fastapi import Request

from registry.api.errors import BusyError
from registry.fusion.errors import GenerationCancelledError

Result = TypeVar("Result")
# Requests that may wait behind the one at work; more would outlast people's patience.
MOST_WAITING = 4


class Job(Generic[Result]):
    """Work that waits, is done, or was given up."""

    def __init__(self, closing: threading.Event) -> None:
        self.future: Future[Result]
        self._closing = closing
        self._abandoned = threading.Event()

    def check(self) -> None:
        """Raise GenerationCancelledError when nobody waits any more; the work asks at each step."""
        if self._abandoned.is_set() or self._closing.is_set():
            raise GenerationCancelledError

    def abandon(self) -> None:
        """Give it up: what waits leaves the queue at once, what is at work stops at its check."""
        self._abandoned.set()
        self.future.cancel()


class GenerationQueue:
    """Runs work in one thread, in order; refuses when too much waits.

    `count` is told by how much what waits or is at work grows, or shrinks.
    """

    def __init__(
        self, most_waiting: int = MOST_WAITING, count: Callable[[int], None] = lambda _: None
    ) -> None:
        self._count = count
        # Set when the server stops; what is at work looks at it between steps.
        self.closing = threading.Event()
        self._places = threading.BoundedSemaphore(1 + most_waiting)
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fuse")

    def submit(self, work: Callable[[Job[Result]], Result]) -> Job[Result]:
        """Queue `work`, which is given its job, or raise BusyError at once."""
        if not self._places.acquire(blocking=False):
            raise BusyError
        job = Job[Result](self.closing)
        try:
            job.future = self._executor.submit(self._run, work, job)
        except RuntimeError:
            self._places.release()
            raise
        self._count(1)
        job.future.add_done_callback(self._leave)
        return job

    def _leave(self, _: "Future[Result]") -> None:
        self._count(-1)
        self._places.release()

    @staticmethod
    def _run(work: Callable[[Job[Result]], Result], job: Job[Result]) -> Result:
        job.check()
        return work(job)

    def close(self) -> None:
        self.closing.set()
        self._executor.shutdown(wait=True, cancel_futures=True)


async def result_for(job: Job[Result], request: Request) -> Result:
    """Return what a job makes, or give it up when the client leaves or the server ends."""
    made = asyncio.wrap_future(job.future)
    gone = asyncio.ensure_future(_until_gone(request))
    try:
        await asyncio.wait((made, gone), return_when=asyncio.FIRST_COMPLETED)
        if not made.done():
            raise GenerationCancelledError
        return made.result()
    finally:
        gone.cancel()
        made.cancel()
        job.abandon()


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
