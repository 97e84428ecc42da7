"""Folders for what a process needs while it works, of which nothing stays when it is killed."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def scratch_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Give an empty folder below `parent` until the context ends.

    Those of this prefix that killed processes left are removed first: sketches of a whole index
    may be hundreds of gigabytes.
    """
    parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        # Nobody looks for leftovers while a folder is made and not yet locked.
        with _locked(parent):
            for left in parent.glob(f"{prefix}*"):
                # Who works in it holds its lock, and the kernel frees that when the process dies.
                with suppress(FileNotFoundError, BlockingIOError), _locked(left, fcntl.LOCK_NB):
                    shutil.rmtree(left)
            folder = Path(stack.enter_context(TemporaryDirectory(dir=parent, prefix=prefix)))
            stack.enter_context(_locked(folder))
        yield folder


@contextmanager
def _locked(folder: Path, flags: int = 0) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | flags)
        yield
    finally:
        os.close(descriptor)
