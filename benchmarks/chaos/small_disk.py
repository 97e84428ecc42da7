"""A small disk that something else fills up now and then."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIZE_BYTES = 448 * 2**20


class SmallDisk:
    """A disk in memory at `folder`, and a file of others that takes its room."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "of-others"

    @property
    def is_full(self) -> bool:
        return self._filler.exists()

    def fill(self, leave_bytes: int) -> None:
        """Take all room but `leave_bytes`."""
        size = shutil.disk_usage(self.folder).free - leave_bytes
        with self._filler.open("wb") as file:
            if size > 0:
                try:
                    os.posix_fallocate(file.fileno(), 0, size)
                except OSError:
                    # Others were faster, and the disk is as full as it was meant to be.
                    os.truncate(file.fileno(), max(0, size - 2**22))

    def clear(self) -> None:
        self._filler.unlink(missing_ok=True)


@contextmanager
def mounted(folder: Path) -> Iterator[SmallDisk | None]:
    """Mount a small disk at `folder`; None where we are not root, who alone may."""
    folder.mkdir(parents=True)
    if os.geteuid() != 0:
        yield None
        return
    options = f"size={SIZE_BYTES},mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "autolora-chaos", folder], check=True)
    try:
        yield SmallDisk(folder)
    finally:
        # Lazily: a process that was just killed may still hold a file.
        subprocess.run(["umount", "--lazy", folder], check=True)
