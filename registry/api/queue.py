"""Images are made one at a time, and only so many may wait."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from registry.api.errors import BusyError
from registry.fusion.errors import GenerationCancelledError

Result = TypeVar("Result")
# Requests that may wait behind the one at work; more would outlast people's patience.
MOST_WAITING = 4


class GenerationQueue:
    """Runs work in one thread, in order; refuses when too much waits."""

    def __init__(self, most_waiting: int = MOST_WAITING) -> None:
        # Set when the server stops; what is at work looks at it between steps.
        self.closing = threading.Event()
        self._places = threading.BoundedSemaphore(1 + most_waiting)
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fuse")

    def submit(self, work: Callable[[], Result]) -> Future[Result]:
        """Queue `work`, or raise BusyError at once."""
        if not self._places.acquire(blocking=False):
            raise BusyError
        try:
            future = self._executor.submit(self._run, work)
        except RuntimeError:
            self._places.release()
            raise
        future.add_done_callback(lambda _: self._places.release())
        return future

    def _run(self, work: Callable[[], Result]) -> Result:
        if self.closing.is_set():
            raise GenerationCancelledError
        return work()

    def close(self) -> None:
        self.closing.set()
        self._executor.shutdown(wait=True, cancel_futures=True)
