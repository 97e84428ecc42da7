"""What every source needs to put a stranger's file on our disk, or to look into it from afar."""

import hashlib
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from crawler.addresses import shown
from crawler.errors import DownloadError, HashMismatchError, SourceError
from crawler.http import PoliteClient
from crawler.records import AdapterRecord, FileRecord

_CHUNK_BYTES = 2**20
# What ext4, APFS and NTFS allow for one part of a path.
_MAX_PART_BYTES = 255
_INCOMPLETE = ".incomplete"
# The first guess at how long a safetensors header is: FLUX.1's 494 layers need 120 KB.
FIRST_BYTES = 2**17
# Longer headers are not fetched; what is read of a file on disk has the same limit.
MAX_HEADER_BYTES = 10_000_000


@dataclass(frozen=True, slots=True)
class RemoteHeader:
    """The start of a file that may be safetensors, nothing of it believed yet."""

    data: bytes  # to the end of the header, if there is one
    size: int  # of the whole file, as the server says


def read_remote_header(client: PoliteClient, url: str) -> RemoteHeader:
    """Fetch a file's safetensors header: one request, or two where it is long.

    What turns out to be no safetensors ends where the first request did; whoever parses it
    says what it is instead.

    Raises:
        SourceError: the address is refused, nothing is there, or the answers contradict.
    """
    start = client.get_part(url, 0, FIRST_BYTES)
    stop = 8 + struct.unpack("<Q", start.data[:8])[0] if len(start.data) > 8 else 0
    plausible = start.data[8:9] == b"{" and stop <= min(8 + MAX_HEADER_BYTES, start.size)
    if not plausible or stop <= len(start.data):
        return RemoteHeader(start.data, start.size)
    # Signed addresses expire within minutes, not between two requests.
    rest = client.get_part(start.url, len(start.data), stop)
    if rest.size != start.size or len(rest.data) != stop - len(start.data):
        raise SourceError(
            f"{shown(url)} changed while its header was read: {start.size} bytes, then {rest.size}"
        )
    return RemoteHeader(start.data + rest.data, start.size)


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
            f"the file name {name[:100]!r} is not safe to write; the file was not downloaded"
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
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DownloadError(f"{path} leads out of {folder}; the file was not downloaded")
    return path


def verify(path: Path, file: FileRecord) -> None:
    """Check a file against what was announced; remove it where it differs.

    Raises:
        HashMismatchError: size or sha256 differ.
    """
    size = path.stat().st_size
    cause = None
    if file.size is not None and size != file.size:
        cause = f"{size} bytes came, {file.size} were announced"
    elif file.sha256 is not None and (found := hash_file(path)) != file.sha256:
        cause = f"sha256 is {found[:12]}…, {file.sha256[:12]}… was announced"
    if cause:
        path.unlink()
        raise HashMismatchError(file.name, cause)


def hash_file(path: Path) -> str:
    """Return the sha256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def copy_file(source: Path, target: Path) -> None:
    """Copy a file so that `target` is there whole or not at all."""
    partial = target.with_name(target.name + _INCOMPLETE)
    try:
        shutil.copyfile(source, partial)
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise disk_error(target, error) from error


def disk_error(path: Path, error: OSError) -> DownloadError:
    """Say which file the disk refused, and what to do."""
    return DownloadError(
        f"{path} cannot be written: {error.strerror or error}. Free space or fix the folder's "
        "permissions, then run again: what is complete is kept."
    )
