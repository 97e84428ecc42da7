"""How much of a disk strangers may fill."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from crawler.errors import FileTooLargeError, NoRoomError


def free_bytes(folder: Path) -> int:
    """Return what is free on the disk of a folder, for who is not its superuser."""
    return shutil.disk_usage(folder).free


@dataclass(frozen=True, slots=True)
class DiskLimits:
    """The largest file that is fetched, and what stays free whatever is fetched.

    PostgreSQL shares the disk, and cannot even start on a full one.
    """

    # An adapter of rank 256 for a base of 20 billion parameters, in 16 bits, takes some 4 GB.
    max_file_bytes: int = 8 * 2**30
    reserved_bytes: int = 2**30
    free: Callable[[Path], int] = free_bytes

    def check_size(self, name: str, size: int) -> None:
        """Refuse a file for its size, announced or come.

        Raises:
            FileTooLargeError: it is larger than files may be.
        """
        if size > self.max_file_bytes:
            raise FileTooLargeError(name, size, self.max_file_bytes)

    def check_room(self, name: str, folder: Path, size: int) -> None:
        """Refuse what would not leave the reserve on the disk of `folder`.

        Raises:
            NoRoomError: there is less than `size` and the reserve.
        """
        free = self.free(folder)
        if free < size + self.reserved_bytes:
            raise NoRoomError(name, size, free, self.reserved_bytes)
