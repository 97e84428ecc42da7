"""How much of a disk strangers may fill, and what is a folder on it."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from crawler.errors import FileTooLargeError, NoRoomError

# PostgreSQL keeps at most so much of its log (max_wal_size), beside its tables.
_RESERVED_BYTES = 2**30


@dataclass(frozen=True, slots=True)
class DiskLimits:
    """The largest file that is fetched, and what stays free whatever is fetched.

    PostgreSQL shares the disk, and cannot even start on a full one.
    """

    # An adapter of rank 256 for a base of 20 billion parameters takes some 7 GB in 32 bits.
    max_file_bytes: int = 8 * 2**30
    # None: 1 GiB, or a tenth of a disk smaller than ten.
    reserved_bytes: int | None = None
    # Gives the total, used and free bytes of the disk of a folder.
    usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage
    # Frees so many bytes on the disk of a folder, or what it can, before anything is refused.
    make_room: Callable[[Path, int], None] | None = None

    def check_size(self, name: str, size: int) -> None:
        """Refuse a file for its size, announced or come.

        Raises:
            FileTooLargeError: it is larger than files may be.
        """
        if size > self.max_file_bytes:
            raise FileTooLargeError(name, size, self.max_file_bytes)

    def check_room(self, name: str, folder: Path, size: int) -> None:
        """Refuse what would enter the reserve on the disk of `folder`.

        Raises:
            NoRoomError: there is less than `size` and the reserve.
        """
        total, _, free = self.usage(folder)
        reserved = self.reserve(total)
        if self.make_room is not None and free < size + reserved:
            self.make_room(folder, size + reserved - free)
            free = self.usage(folder)[2]
        # Without a reserve the disk itself says when it is full.
        if reserved and free < size + reserved:
            raise NoRoomError(name, size, free, reserved)

    def reserve(self, total: int) -> int:
        """Return the bytes that stay free on a disk of so many."""
        if self.reserved_bytes is None:
            return min(_RESERVED_BYTES, total // 10)
        return self.reserved_bytes


def nearest_folder(path: Path) -> Path:
    """Return a folder, or the one above that it would be made in."""
    return next(each for each in (path, *path.parents) if is_folder(each))


def is_folder(path: Path) -> bool:
    """Whether a path is a folder; one that cannot even be looked at is none."""
    try:
        return path.is_dir()
    except OSError:
        return False
