"""Files that are there whole, or not at all."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a name beside `path` to write to; what is written there becomes `path` at the end.

    Whoever reads meanwhile finds what was there before. An error, or Ctrl-C, leaves nothing of it;
    a kill leaves a name that ends in .partial, which the next one writes over. It is for what can
    be made again: nothing waits for the disk, and a power cut may take it.
    """
    partial = _partial_of(path)
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def check_writable(path: Path) -> None:
    """Begin what `written_whole` does, and leave nothing.

    Raises:
        OSError: nothing can be written there, or not under this name.
    """
    partial = _partial_of(path)
    try:
        partial.touch(exist_ok=False)
    except FileExistsError:
        # Somebody writes there at the moment, or was killed at it.
        return
    partial.unlink()


@contextmanager
def new_temporary(folder: Path, prefix: str = "", mode: int = 0o600) -> Iterator[tuple[int, Path]]:
    """Give a new file of our own, locked against `remove_left` and removed if it stays."""
    while True:
        path = folder / f"{prefix}{uuid4().hex}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        # Where a disk knows no locks, nothing is taken for left behind either.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            break
        os.close(descriptor)  # removed before it was locked
    try:
        yield descriptor, path
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def remove_left(folder: Path, prefix: str = "") -> int:
    """Remove what killed writers left of temporary files; return how many. Live ones are kept."""
    removed = 0
    for path in folder.glob(f"{prefix}*"):
        # What cannot be removed is in nobody's way.
        with suppress(OSError), path.open("rb") as stream:
            # Its writer holds it alone, and the kernel frees it when the writer dies. Shared,
            # since NFS gives no other lock to who only reads, and some of these only may be.
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            path.unlink()
            removed += 1
    return removed


def _partial_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial")
