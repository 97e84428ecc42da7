"""Bytes under the name of their sha256: adapters, covers, checkpoints."""

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO

from crawler.disk import DiskLimits
from crawler.hashed_file import HashedFile
from crawler.whole_file import new_temporary, remove_left
from registry.errors import BlobMismatchError, BlobNotFoundError, DiskClosedError, DiskFullError

CHUNK_BYTES = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Adapters and pictures may be somebody's own: others on this machine have no business here.
_READ_ONLY = 0o400
# What says that nothing may be written somewhere.
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)


class BlobStore:
    """A folder of files that never change, safe to share between threads and processes.

    A blob appears under its name whole and on disk, or not at all: it is written beside,
    synced, and renamed. Storing the same bytes again does nothing. The reserve that `limits`
    name is never entered.
    """

    def __init__(self, root: Path, limits: DiskLimits | None = None) -> None:
        self.root = root
        self._limits = limits or DiskLimits()
        self._temporary = root / "tmp"

    def put_file(
        self, file: Path | HashedFile, *, expected: str | None = None, move: bool = False
    ) -> str:
        """Store the bytes of a file and return their sha256; with `move` it is gone after.

        What was hashed on its way here is not read again.

        Raises:
            BlobMismatchError: they are not the `expected` ones. Nothing was stored.
            NoRoomError: it would enter the reserve. Nothing was stored.
            DiskError: there is no room at all, or nothing may be written. Nothing was stored.
        """
        hashed = HashedFile.of(file) if isinstance(file, Path) else file
        source, sha256 = hashed.path, hashed.sha256()
        _check(source.name, sha256, expected)
        held = self._holds(sha256, source.stat().st_size)
        if not held and not (move and self._rename(source, sha256)):
            with source.open("rb") as stream:
                self._write(iter(lambda: stream.read(CHUNK_BYTES), b""), sha256, source.name)
        if move:
            source.unlink(missing_ok=True)
        return sha256

    def put_bytes(self, data: bytes, *, expected: str | None = None) -> str:
        """Store `data` and return its sha256. Raises as `put_file` does."""
        sha256 = hashlib.sha256(data).hexdigest()
        _check("these bytes", sha256, expected)
        if not self._holds(sha256, len(data)):
            self._write(iter([data]), sha256, "these bytes")
        return sha256

    def path(self, sha256: str) -> Path:
        """Where a blob of this hash lies, or would lie."""
        return self._place(sha256)

    def exists(self, sha256: str) -> bool:
        return self._place(sha256).is_file()

    def size(self, sha256: str) -> int | None:
        """Return how many bytes a blob has; None where it is not to be had."""
        try:
            return self._place(sha256).stat().st_size
        except FileNotFoundError:
            return None

    def share(self, sha256: str) -> int | None:
        """See that whoever uses this store has a blob that is here; return as `size` does."""
        return self.size(sha256)

    def discard_cut(self, sha256: str, size: int | None) -> bool:
        """Remove what a broken disk left of a blob; return whether it is to be had anew.

        It should have `size` bytes, or any where that is unknown.
        """
        place = self._place(sha256)
        try:
            here = place.stat().st_size
        except FileNotFoundError:
            return True
        if here and size in (None, here):
            return False
        self.discard(sha256)
        return True

    def discard(self, sha256: str) -> None:
        """Remove a blob that is not what its name says."""
        self._place(sha256).unlink(missing_ok=True)

    def open(self, sha256: str) -> BinaryIO:
        """Open a blob for reading.

        Raises:
            BlobNotFoundError: it is not here.
        """
        try:
            return self.path(sha256).open("rb")
        except FileNotFoundError as error:
            raise BlobNotFoundError(sha256) from error

    @contextmanager
    def partial_file(self) -> Iterator[BinaryIO]:
        """Give an empty file, to be filled and stored; what is not stored is gone after."""
        with self._new_temporary() as (_, path), path.open("wb") as stream:
            yield stream

    def clean(self) -> int:
        """Remove what killed writers left behind; return how many files. Live ones are kept."""
        return remove_left(self._temporary)

    def _place(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise BlobNotFoundError(sha256)
        # 256 folders: a folder of a million files is slow to list and to back up.
        return self.root / sha256[:2] / sha256

    def _holds(self, sha256: str, size: int) -> bool:
        """Whether it is here in full length; a blob that a broken disk cut is written anew."""
        try:
            return self._place(sha256).stat().st_size == size
        except FileNotFoundError:
            return False

    def _rename(self, source: Path, sha256: str) -> bool:
        """Move a file in; False where it lies on another disk."""
        with disk_errors(self.root), source.open("rb") as stream:
            os.fsync(stream.fileno())
            source.chmod(_READ_ONLY)
            try:
                self._publish(source, sha256)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                return False
        return True

    def _write(self, chunks: Iterator[bytes], sha256: str, name: str) -> None:
        digest = hashlib.sha256()
        with disk_errors(self.root), self._new_temporary() as (descriptor, path):
            for chunk in chunks:
                self._limits.check_room(name, self._temporary, len(chunk))
                digest.update(chunk)
                rest = memoryview(chunk)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
            # A source that changed while it was copied.
            _check(name, digest.hexdigest(), sha256)
            os.fchmod(descriptor, _READ_ONLY)
            os.fsync(descriptor)
            self._publish(path, sha256)

    @contextmanager
    def _new_temporary(self) -> Iterator[tuple[int, Path]]:
        make_private(self._temporary)
        with new_temporary(self._temporary) as temporary:
            yield temporary

    def _publish(self, path: Path, sha256: str) -> None:
        target = self._place(sha256)
        is_new = not target.parent.exists()
        make_private(target.parent)
        path.replace(target)
        _sync_folder(target.parent)
        if is_new:
            _sync_folder(self.root)


def make_private(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for their owner alone.

    One that is there already stays as it is: it may be meant for others too.
    """
    if folder.exists():
        return
    missing = takewhile(lambda path: not path.exists(), (folder, *folder.parents))
    for path in reversed(list(missing)):
        path.mkdir(mode=0o700, exist_ok=True)


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one it was raised from, says that a disk or quota is full."""
    seen: list[BaseException] = []
    # An error may be its own cause, and the search would never end.
    while error is not None and error not in seen:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        seen.append(error)
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def disk_errors(root: Path) -> Iterator[None]:
    """Tell what any file would meet from what one has that is to be stored."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise DiskFullError(root) from error
        names = [
            Path(name) for name in (error.filename, error.filename2) if isinstance(name, Path | str)
        ]
        if error.errno in _CLOSED and any(name.is_relative_to(root) for name in names):
            raise DiskClosedError(root, error.strerror or str(error)) from error
        raise


def _check(name: str, got: str, expected: str | None) -> None:
    if expected is not None and got != expected:
        raise BlobMismatchError(name, expected, got)


def _sync_folder(folder: Path) -> None:
    """Make a rename in it survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
