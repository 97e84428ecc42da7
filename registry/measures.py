"""How long things take and how often caches help, told to whoever listens in this process.

What does the work knows of no monitoring; where nobody listens, a stage costs a microsecond.
"""

import time
from typing import Literal, Protocol, Self, get_args

# Of a search, in the order in which they begin; "draw" is a whole image.
Stage = Literal["segment", "encode", "nearest", "words", "facts", "merge", "load", "draw"]
STAGES: tuple[Stage, ...] = get_args(Stage)
Cache = Literal["text", "adapters", "answers"]
CACHES: tuple[Cache, ...] = get_args(Cache)


class Listener(Protocol):
    """Called in the thread that works, so it has to be quick."""

    def took(self, stage: Stage, seconds: float) -> None: ...

    def asked(self, cache: Cache, hits: int, misses: int) -> None: ...


class _Silent:
    """Nobody listens."""

    def took(self, stage: Stage, seconds: float) -> None:
        pass

    def asked(self, cache: Cache, hits: int, misses: int) -> None:
        pass


_listener: Listener = _Silent()


def tell(listener: Listener) -> None:
    """Tell this listener from now on, and no other."""
    global _listener
    _listener = listener


def asked(cache: Cache, *, hits: int, misses: int) -> None:
    """Note what a cache was asked for and had, or had not."""
    _listener.asked(cache, hits, misses)


class timed:  # noqa: N801 (used as a statement: `with timed("merge"):`)
    """A context manager that tells how long its block took, unless it raises."""

    __slots__ = ("_stage", "_started")

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def __enter__(self) -> Self:
        self._started = time.perf_counter()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            _listener.took(self._stage, time.perf_counter() - self._started)
