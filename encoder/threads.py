"""How many threads numbers are computed with."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with `count` threads meanwhile: sums are split by thread, which shows in bits.

    One is best for an adapter, which is hundreds of small matrices. Threads that share those wait
    for each other more than they compute, and each that waits keeps a processor busy.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
