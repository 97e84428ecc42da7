"""Files that came are read while others still come: downloading leaves processors to do so.

What is read so is stored as ever, a group of files at a time: a kill costs those under way.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from registry.refresh.step import StepOutcome

# Fewer files wait for more: a transaction costs more than a file's share of it. More are read
# together at most, so that nobody waits long for the last of them.
FEWEST_TOGETHER, MOST_TOGETHER = 32, 128
# How often is looked whether files have come.
LOOK_SECONDS = 0.25


class ReadAhead:
    """Reads files in a thread of its own until it is finished or stopped."""

    def __init__(
        self,
        list_keys: Callable[[], Sequence[str]],
        do: Callable[[Sequence[str]], Iterator[StepOutcome]],
    ) -> None:
        """`list_keys` tells the first that are to be read, `do` reads some."""
        self._list_keys, self._do = list_keys, do
        self._over = threading.Event()
        # What could not be read stays to do, and is tried once here.
        self._tried: set[str] = set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._reading = self._thread.submit(self._read)

    def stop(self) -> None:
        """Begin with no more files; wait for none."""
        self._over.set()

    def wait(self) -> None:
        """Wait until nothing is read any more, however that ends."""
        wait([self._reading])
        self._thread.shutdown()

    def finish(self) -> list[StepOutcome]:
        """Begin with no more files, and return what came of those before.

        Raises what reading them raised.
        """
        self.stop()
        return self._reading.result()

    def _read(self) -> list[StepOutcome]:
        outcomes: list[StepOutcome] = []
        while not self._over.is_set():
            keys = [key for key in self._list_keys() if key not in self._tried][:MOST_TOGETHER]
            if len(keys) < FEWEST_TOGETHER:
                self._over.wait(LOOK_SECONDS)
                continue
            self._tried.update(keys)
            outcomes += self._do(keys)
        return outcomes
