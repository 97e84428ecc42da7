"""How `autolora` loads its modules: only what is needed, and so that Ctrl-C just ends it."""

import atexit
import gc
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast


def load_less() -> None:
    """Leave out what no command needs and a third of a start is spent on.

    For the program alone: what is loaded into somebody's own process is theirs to say.
    """
    # httpx loads a command line of its own, and Pygments for it, wherever these are installed [1].
    # - [1] https://github.com/encode/httpx/blob/0.28.1/httpx/__init__.py
    cast(dict[str, Any], sys.modules)["httpx._main"] = None
    # pydantic looks for plugins in all that is installed.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # What modules define stays, and is looked through for garbage at every 700th object otherwise.
    gc.set_threshold(50_000)
    # And again by Python as it ends, when all of it goes anyway.
    atexit.register(gc.freeze)


def multiply_with_one_thread() -> None:
    """Let numpy multiply with one thread; to be called before it is loaded.

    Searches and embeddings multiply small matrices. Threads that share one wait longer than they
    compute, and keep a processor busy meanwhile, which others need.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@contextmanager
def loading() -> Iterator[None]:
    """Let Ctrl-C end the program at once while the block imports: nothing is under way yet."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
