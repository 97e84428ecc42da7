"""How a hub is treated: how much is asked of it at a time, and how it rests when it fails."""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from crawler.errors import HubRestingError

# So many questions in a row that came to nothing, each after its retries: the hub is down.
FAILURES_IN_A_ROW = 5
# How long it rests then, twice as long after each probe that fails, and at most.
FIRST_REST_SECONDS = 15.0
LONGEST_REST_SECONDS = 3600.0
# Hugging Face counts requests in windows of 5 minutes; longer ones are waited for in parts.
MAX_WINDOW_SECONDS = 300.0
# Requests that are left, and seconds until there are more [1]: `"api";r=412;t=55`.
# - [1] https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
_RATE_LIMIT = re.compile(r"\br\s*=\s*(\d{1,9})\s*;\s*t\s*=\s*(\d{1,9})")


@dataclass(frozen=True, slots=True)
class Manners:
    """What a hub is asked for at a time, by one process."""

    # None: 5, or on loopback as many as it takes.
    requests_per_second: float | None = None
    attempts: int = 3
    # Of its files, all downloads together; None: as many as come.
    bytes_per_second: float | None = None
    downloads: int = 8


DEFAULT_MANNERS = Manners()


class Pace:
    """Keeps requests to one host apart. Threads may share it."""

    def __init__(self, requests_per_second: float) -> None:
        self._interval_seconds = 1 / requests_per_second
        self._next: dict[str, float] = {}
        self._lock = threading.Lock()

    def wait(self, host: str) -> None:
        """Sleep until the next request to `host` is due."""
        with self._lock:
            now = time.monotonic()
            due = max(now, self._next.get(host, 0.0))
            self._next[host] = due + self._interval_seconds
        if due > now:
            time.sleep(due - now)

    def heed(self, host: str, rate_limit: str | None) -> None:
        """Spread the requests that a RateLimit header leaves us over the time that it names."""
        match = _RATE_LIMIT.search(rate_limit or "")
        if not match:
            return
        left, seconds = int(match[1]), min(float(match[2]), MAX_WINDOW_SECONDS)
        with self._lock:
            due = time.monotonic() + seconds / max(left, 1)
            self._next[host] = max(due, self._next.get(host, 0.0))

    def rest(self, host: str, seconds: float) -> None:
        """Ask a host nothing for so long, whoever was told."""
        with self._lock:
            self._next[host] = max(time.monotonic() + seconds, self._next.get(host, 0.0))


class Bandwidth:
    """Spreads bytes over time. Threads may share it."""

    def __init__(self, bytes_per_second: float | None) -> None:
        self._seconds_per_byte = 1 / bytes_per_second if bytes_per_second else 0.0
        self._free_at = 0.0
        self._lock = threading.Lock()

    def take(self, count: int) -> float:
        """Wait until so many bytes more are due; return for how many seconds that was."""
        if not self._seconds_per_byte:
            return 0.0
        with self._lock:
            now = time.monotonic()
            due = max(now, self._free_at)
            self._free_at = due + count * self._seconds_per_byte
        time.sleep(due - now)
        return due - now


class Breaker:
    """Lets a hub rest that failed several times in a row, and then asks it one question.

    pybreaker, the usual library, holds its lock for as long as a question takes: eight downloads
    would be one at a time.
    """

    def __init__(
        self,
        title: str,
        *,
        first_rest_seconds: float = FIRST_REST_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._title, self._first, self._clock = title, first_rest_seconds, clock
        self._failures = 0
        # How often it has rested since it last answered, until when it does, whether it is asked.
        self._rests = 0
        self._rests_until = 0.0
        self._is_probed = False
        # Whether it asked for that rest itself.
        self._is_asked_for = False
        self._lock = threading.Lock()

    def admit(self) -> None:
        """Let a question through, if the hub does not rest; after a rest, one.

        Raises:
            HubRestingError: it rests, or somebody else asks whether it is back.
        """
        with self._lock:
            if not self._rests:
                return
            left = self._rests_until - self._clock()
            if left > 0 or self._is_probed:
                raise HubRestingError(
                    self._title,
                    max(left, 0.0),
                    self._rests,
                    is_asked_for=left > 0 and self._is_asked_for,
                )
            self._is_probed = True

    def note(self, *, answered: bool, rest_seconds: float = 0.0) -> None:
        """Note what came of a question that was let through.

        The `rest_seconds` that a hub asks for it gets, up to an hour, from everybody.
        """
        with self._lock:
            if answered and self._is_asked_for and self._clock() < self._rests_until:
                # It was under way when another was told.
                return
            if answered:
                self._failures = self._rests = 0
                self._is_probed = False
                return
            self._failures += 1
            if rest_seconds:
                self._rests = max(self._rests, 1)
                until = self._clock() + min(rest_seconds, LONGEST_REST_SECONDS)
                self._rests_until = max(self._rests_until, until)
                self._is_probed, self._is_asked_for = False, True
            elif self._is_probed or (not self._rests and self._failures >= FAILURES_IN_A_ROW):
                rest = min(self._first * 2**self._rests, LONGEST_REST_SECONDS)
                self._rests += 1
                self._rests_until = self._clock() + rest
                self._is_probed = self._is_asked_for = False
