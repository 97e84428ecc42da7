"""An answer that is given again for a while: for what is asked often and changes seldom."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Fresh(Generic[T]):
    """The last answer of `make`; errors are not kept."""

    def __init__(self, make: Callable[[], T], seconds: float) -> None:
        self._make = make
        self._seconds = seconds
        self._lock = threading.Lock()
        self._made: tuple[float, T] | None = None

    def get(self) -> T:
        with self._lock:
            if self._made is None or time.monotonic() > self._made[0] + self._seconds:
                self._made = time.monotonic(), self._make()
            return self._made[1]
