"""Folders for what a process needs while it works, of which nothing stays when it is killed."""

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from registry.blobs import is_disk_full
from registry.errors import DiskFullError


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


def take_room(path: Path, size: int) -> None:
    """Make a file of so many bytes, for which there is room on the disk.

    What is mapped into memory is written when it suits the kernel, which kills a process that a
    full disk has no room for.

    Raises:
        DiskFullError: there is no room.
    """
    with path.open("wb") as stream:
        try:
            stream.truncate(size)
            # Darwin has no such call.
            if sys.platform != "darwin":
                os.posix_fallocate(stream.fileno(), 0, size)
        except OSError as error:
            if is_disk_full(error):
                raise DiskFullError(path) from error
            raise


@contextmanager
def _locked(folder: Path, flags: int = 0) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | flags)
        yield
    finally:
        os.close(descriptor)
