"""How many threads numbers are computed with."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

_here = threading.local()
_asking = threading.Lock()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with `count` threads meanwhile: sums are split by thread, which shows in bits.

    One is best for an adapter, which is hundreds of small matrices. Threads that share those wait
    for each other more than they compute, and each that waits keeps a processor busy.
    """
    before = thread_count()
    _set(count)
    try:
        yield
    finally:
        _set(before)


def thread_count() -> int:
    """Return how many threads the calling thread computes with.

    torch may say fewer: a thread that begins computing keeps what any other set last, such as the
    one of a thread that reads an adapter, for good.
    """
    with _asking:
        return getattr(_here, "count", None) or _usual()


def _set(count: int) -> None:
    _here.count = count
    torch.set_num_threads(count)


@cache
def _usual() -> int:
    """Return what torch had before anybody set it here."""
    return torch.get_num_threads()
