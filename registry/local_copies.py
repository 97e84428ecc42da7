"""Copies that this machine keeps of blobs elsewhere: they make room for what comes."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

# Whoever was told where one lies opens it within this time. What is open is read to its end:
# Linux and macOS remove its name only.
IN_USE_SECONDS = 600
# So much is freed at least: to list many files for every piece that comes takes longer than to
# fetch a few of them again.
LEAST_BYTES = 2**30


def mark_used(copy: Path) -> bool:
    """Note that a copy is in use from now on; return whether it is here."""
    try:
        # Not left to the file system, which may be mounted to note nothing.
        os.utime(copy, ns=(time.time_ns(), copy.stat().st_mtime_ns))
    except FileNotFoundError:
        return False
    except OSError:
        # Somebody else's, or on a disk that lets nothing be written: it can be read still.
        return True
    return True


def make_room(roots: Sequence[Path], folder: Path, size: int) -> None:
    """Free `size` bytes on the disk of `folder`, or what can be: copies used longest ago go first.

    `roots` are folders of blobs that all are to be had elsewhere.
    """
    disk = folder.stat().st_dev
    left = max(size, LEAST_BYTES)
    for _, length, path in sorted(copy for root in roots for copy in _list_unused(root, disk)):
        if left <= 0:
            return
        # Another process may make room, too.
        with suppress(FileNotFoundError):
            path.unlink()
            left -= length


def _list_unused(root: Path, disk: int) -> Iterator[tuple[float, int, Path]]:
    """Yield when the copies on a disk that are not in use were, how long they are, and where."""
    for path in root.glob("??/*"):
        with suppress(FileNotFoundError):
            facts = path.stat()
            if facts.st_dev == disk and facts.st_atime < time.time() - IN_USE_SECONDS:
                yield facts.st_atime, facts.st_size, path
