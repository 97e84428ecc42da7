"""What every source needs to put a stranger's file on our disk, or to look into it from afar."""

import fcntl
import hashlib
import os
import struct
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from crawler.addresses import origin, shown
from crawler.answers import Body
from crawler.disk import DiskLimits
from crawler.errors import DownloadError, HashMismatchError, RangeError, SourceError
from crawler.foreign_text import quoted
from crawler.hashed_file import HashedFile, stamp
from crawler.http import PoliteClient
from crawler.records import AdapterRecord, FileRecord, RemoteHeader

_CHUNK_BYTES = 2**20
# For so much at a time the disk is asked whether there is room, and told to write what came.
_ROOM_BYTES = 2**22
# Where memory is full of other files, Linux makes room for a long write by moving pages together:
# of a megabyte at a time for longer than the bytes take. Each write, too, waits its turn among
# Python's threads: short ones cost more.
_WRITE_BYTES = 2**18
# What ext4, APFS and NTFS allow for one part of a path.
_MAX_PART_BYTES = 255
_INCOMPLETE = ".incomplete"
# The first guess at how long a safetensors header is: FLUX.1's 494 layers need 120 KB.
FIRST_BYTES = 2**17
# Longer headers are not fetched; what is read of a file on disk has the same limit.
MAX_HEADER_BYTES = 10_000_000


def read_remote_header(
    client: PoliteClient, url: str, headers: Mapping[str, str] | None = None
) -> RemoteHeader:
    """Fetch a file's safetensors header: one request, or two where it is long.

    What turns out to be no safetensors ends where the first request did; whoever parses it
    says what it is instead.

    Raises:
        SourceError: the address is refused, nothing is there, or the answers contradict.
    """
    start = client.get_part(url, 0, FIRST_BYTES, headers=headers)
    stop = 8 + struct.unpack("<Q", start.data[:8])[0] if len(start.data) > 8 else 0
    plausible = start.data[8:9] == b"{" and stop <= min(8 + MAX_HEADER_BYTES, start.size)
    if not plausible or stop <= len(start.data):
        return RemoteHeader(start.data, start.size, start.sha256)
    # Signed addresses expire within minutes, not between two requests.
    own = headers if origin(start.url) == origin(url) else None
    rest = client.get_part(start.url, len(start.data), stop, headers=own)
    if rest.size != start.size or len(rest.data) != stop - len(start.data):
        raise SourceError(
            f"{shown(url)} changed while its header was read: {start.size} bytes, then {rest.size}"
        )
    return RemoteHeader(start.data + rest.data, start.size, start.sha256)


def safe_relative_path(name: str) -> Path:
    """Return a listed file name as a path that stays below the folder it is joined to.

    Names are refused, not repaired: a hub that lists "../../x" is not to be trusted with x.

    Raises:
        DownloadError: the name is absolute, climbs, or no file system would take it.
    """
    path = PurePosixPath(name)
    bad = (
        not path.parts
        or path.is_absolute()
        or ".." in path.parts
        or "\\" in name
        or ":" in name
        or not name.isprintable()
        # Room for the suffix of a partial transfer.
        or any(len(part.encode()) > _MAX_PART_BYTES - len(_INCOMPLETE) for part in path.parts)
    )
    if bad:
        raise DownloadError(
            f"the file name {quoted(name)} is not safe to write; the file was not downloaded"
        )
    return Path(*path.parts)


def download_folder(record: AdapterRecord, target: Path) -> Path:
    """Return the folder below `target` for this one file, the same at every call.

    Different files may share a name; apart, none continues the other's partial transfer.
    """
    file = record.file
    key = (
        file.sha256
        or hashlib.sha256(
            "\0".join((record.hub, record.repo, file.revision, file.name)).encode()
        ).hexdigest()
    )
    return target / key


def place(record: AdapterRecord, target: Path) -> Path:
    """Return where the record's file belongs below `target`, its folder made.

    Raises:
        DownloadError: the listed name is unsafe, or the folder cannot be made.
    """
    folder = download_folder(record, target)
    path = folder / safe_relative_path(record.file.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(path, error) from error
    # A symbolic link inside the folder would lead out of it again.
    inside = path.relative_to(folder).parts
    if any(folder.joinpath(*inside[:count]).is_symlink() for count in range(1, len(inside) + 1)):
        raise DownloadError(f"{path} leads out of {folder}; the file was not downloaded")
    return path


def fetch_file(
    client: PoliteClient,
    url: str,
    record: AdapterRecord,
    path: Path,
    limits: DiskLimits,
    headers: Mapping[str, str] | None = None,
) -> HashedFile:
    """Fetch a record's file to `path`, verified; a transfer that was cut is gone on with.

    The hub's word on the size is checked byte by byte, not believed.

    Raises:
        FileTooLargeError, NoRoomError: it may not be had here. Nothing is left of it.
        HashMismatchError: it is not what was announced. Nothing is left of it.
        DownloadError: it cannot be written, or another process fetches it just now.
        SourceError: the server does not give it. What came is kept for the next time.
    """
    name = f"{record.repo}/{record.file.name}"
    limits.check_size(name, record.file.size or 0)
    if path.exists():
        here = HashedFile.of(path)
        if record.file.sha256 in (None, here.sha256()):
            return here
        path.unlink()  # a power cut left it without all of its bytes
    partial = path.with_name(path.name + _INCOMPLETE)

    def attempt() -> HashedFile:
        with PartialFile(partial, name, record.file, limits) as file:
            if not file.is_complete:
                client.read_file(url, file.size, file.receive, headers=headers)
            return file.finish(path)

    return client.retry(attempt)


def check_announced(record: AdapterRecord, header: RemoteHeader) -> None:
    """Refuse to judge what is not the file that was listed: a page of an error, say.

    Raises:
        HashMismatchError: its size is another one.
    """
    announced = record.file.size
    if announced is not None and header.size != announced:
        cause = f"the server has {header.size} bytes, {announced} were announced"
        raise HashMismatchError(f"{record.repo}/{record.file.name}", cause)


class PartialFile:
    """A file on its way to our disk: what came of it, its hash, and what more it may take.

    Used as a context manager, by one process at a time. What can never become the file, or has
    no room, is removed; what was merely cut is kept.
    """

    def __init__(self, path: Path, name: str, expected: FileRecord, limits: DiskLimits) -> None:
        self._path, self._name, self._expected, self._limits = path, name, expected, limits
        # So much of it the disk was told to write.
        self._handed_on = 0

    def __enter__(self) -> Self:
        try:
            self._file = self._path.open("a+b")
        except OSError as error:
            raise disk_error(self._path, error) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Before we had the lock it may have become the whole file, and gone.
            if not os.path.samestat(os.fstat(self._file.fileno()), self._path.stat()):
                raise FileNotFoundError(self._path)
        except (BlockingIOError, FileNotFoundError) as error:
            self._file.close()
            raise DownloadError(
                f"{self._name} is being fetched by another process; run again when that is done"
            ) from error
        self._hash_what_is_there()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._file.close()
        if isinstance(error, DownloadError | RangeError | OSError):
            self._path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise disk_error(self._path, error) from error

    @property
    def is_complete(self) -> bool:
        return self.size == self._expected.size

    @property
    def _left(self) -> int:
        """How much more is to come, as announced; 0 where nothing was."""
        return max(0, (self._expected.size or 0) - self.size)

    def receive(self, body: Body) -> None:
        """Take what a server sends, from where we stopped or from the beginning."""
        if body.start != self.size:
            self._restart()
        folder = self._path.parent
        self._limits.check_room(self._name, folder, self._left)
        room = 0
        for chunk in body.chunks:
            self._check_length(self.size + len(chunk))
            if room < len(chunk):
                room = max(len(chunk), min(self._left, _ROOM_BYTES))
                self._limits.check_room(self._name, folder, room)
                self._begin_writing()
            room -= len(chunk)
            self._write(chunk)
            self._digest.update(chunk)
            self.size += len(chunk)

    def finish(self, path: Path) -> HashedFile:
        """Move the file to `path`, if it is what was announced.

        Raises:
            HashMismatchError: size or sha256 differ.
        """
        expected = self._expected
        if expected.size is not None and self.size != expected.size:
            cause = f"{self.size} bytes came, {expected.size} were announced"
            raise HashMismatchError(self._name, cause)
        found = self._digest.hexdigest()
        if expected.sha256 is not None and found != expected.sha256:
            raise HashMismatchError(self._name, _differs(found, expected.sha256))
        self._file.flush()
        self._path.replace(path)
        # Of what was written here, whoever may have put another file there since.
        return HashedFile(path, found, stamp(os.fstat(self._file.fileno())))

    def _write(self, chunk: bytes | memoryview) -> None:
        view = memoryview(chunk)
        for start in range(0, len(view), _WRITE_BYTES):
            self._file.write(view[start : start + _WRITE_BYTES])

    def _check_length(self, size: int) -> None:
        self._limits.check_size(self._name, size)
        if self._expected.size is not None and size > self._expected.size:
            cause = f"more than the {self._expected.size} bytes came that were announced"
            raise HashMismatchError(self._name, cause)

    def _begin_writing(self) -> None:
        """Have the disk write what came since the last time, and wait for none of it.

        Downloads that began together end together: all would wait for their syncs at once, and no
        processor had anything to do.
        """
        if sys.platform == "linux" and self.size > self._handed_on:
            # Pages that are being written are not dropped from memory [1]: they are to be read.
            # - [1] https://man7.org/linux/man-pages/man2/posix_fadvise.2.html
            start, count = self._handed_on, self.size - self._handed_on
            os.posix_fadvise(self._file.fileno(), start, count, os.POSIX_FADV_DONTNEED)
        self._handed_on = self.size

    def _hash_what_is_there(self) -> None:
        self._digest, self.size = hashlib.sha256(), 0
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK_BYTES):
            self._digest.update(chunk)
            self.size += len(chunk)
        self._handed_on = self.size
        if self._expected.size is not None and self.size > self._expected.size:
            self._restart()

    def _restart(self) -> None:
        self._file.truncate(0)
        self._digest, self.size = hashlib.sha256(), 0
        self._handed_on = 0


def disk_error(path: Path, error: OSError) -> DownloadError:
    """Say which file the disk refused, and what to do."""
    return DownloadError(
        f"{path} cannot be written: {error.strerror or error}. Free space or fix the folder's "
        "permissions, then run again: what is complete is kept."
    )


def _differs(found: str, announced: str) -> str:
    return f"sha256 is {found[:12]}…, {announced[:12]}… was announced"
