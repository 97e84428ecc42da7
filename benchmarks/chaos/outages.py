"""What was down, and when: only then may a question go unanswered."""

import threading
import time
from dataclasses import dataclass

# A process that was killed is noticed by others a little later.
LEAST_SECONDS = 1.0


@dataclass
class _Outage:
    what: str
    begun: float
    ended: float | None = None


class Outages:
    """Safe to share between threads."""

    def __init__(self) -> None:
        self._outages: list[_Outage] = []
        self._lock = threading.Lock()

    def begin(self, what: str) -> None:
        with self._lock:
            self._outages.append(_Outage(what, time.monotonic()))

    def end(self, what: str) -> None:
        with self._lock:
            for outage in self._open(what):
                outage.ended = max(time.monotonic(), outage.begun + LEAST_SECONDS)

    def is_down(self, what: str) -> bool:
        with self._lock:
            return bool(self._open(what))

    def seconds(self, what: str) -> float:
        """Return for how long it has been down."""
        with self._lock:
            return max((time.monotonic() - o.begun for o in self._open(what)), default=0.0)

    def overlap(self, start: float, end: float) -> set[str]:
        """Return what was down at some moment between two of the monotonic clock."""
        with self._lock:
            return {
                outage.what
                for outage in self._outages
                if outage.begun <= end and (outage.ended is None or outage.ended >= start)
            }

    def _open(self, what: str) -> list[_Outage]:
        return [o for o in self._outages if o.what == what and o.ended is None]
