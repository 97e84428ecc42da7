"""How many threads numbers are computed with."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread meanwhile.

    An adapter is hundreds of small matrices. Threads that share those wait for each other more
    than they compute, and each that waits keeps a processor busy.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
