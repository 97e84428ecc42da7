"""The blob store: whole or not at all, whatever happens."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from crawler.disk import DiskLimits
from crawler.errors import NoRoomError
from crawler.hashed_file import HashedFile
from registry.blobs import BlobStore, is_disk_full
from registry.config import Settings
from registry.errors import BlobMismatchError, BlobNotFoundError, DiskClosedError, DiskFullError
from registry.service import Registry

SOME = b"some bytes"
SOME_SHA256 = hashlib.sha256(SOME).hexdigest()


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def test_bytes_are_found_by_their_hash(blobs: BlobStore) -> None:
    sha256 = blobs.put_bytes(SOME)

    assert sha256 == SOME_SHA256
    assert blobs.exists(sha256)
    with blobs.open(sha256) as stream:
        assert stream.read() == SOME


@pytest.mark.parametrize("move", [False, True])
def test_a_file_is_stored_whole(blobs: BlobStore, tmp_path: Path, move: bool) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(3_000_001))  # more than two chunks
    content = source.read_bytes()

    sha256 = blobs.put_file(source, move=move)

    assert blobs.path(sha256).read_bytes() == content
    assert source.exists() is not move


def test_a_file_is_moved_from_another_disk(blobs: BlobStore) -> None:
    """Renaming works only within a file system."""
    shared_memory = Path("/dev/shm")
    if not shared_memory.is_dir() or shared_memory.stat().st_dev == Path("/tmp").stat().st_dev:
        pytest.skip("no second file system here")
    source = shared_memory / f"autolora-test-{os.getpid()}"
    source.write_bytes(SOME)

    assert blobs.put_file(source, move=True) == SOME_SHA256
    assert blobs.path(SOME_SHA256).read_bytes() == SOME
    assert not source.exists()


def test_storing_twice_keeps_one(blobs: BlobStore) -> None:
    blobs.put_bytes(SOME)
    before = blobs.path(SOME_SHA256).stat()

    blobs.put_bytes(SOME)

    assert blobs.path(SOME_SHA256).stat() == before
    assert files(blobs) == [blobs.path(SOME_SHA256)]


def test_what_is_not_what_was_announced_is_not_stored(blobs: BlobStore, tmp_path: Path) -> None:
    source = tmp_path / "adapter.safetensors"
    source.write_bytes(b"other bytes")

    with pytest.raises(BlobMismatchError, match=r"adapter\.safetensors has sha256 .*not "):
        blobs.put_file(source, expected=SOME_SHA256, move=True)

    assert files(blobs) == []
    assert source.exists()


def test_a_file_is_stored_by_the_hash_that_came_with_it(blobs: BlobStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(SOME)

    assert blobs.put_file(HashedFile.of(source), expected=SOME_SHA256, move=True) == SOME_SHA256
    assert blobs.path(SOME_SHA256).read_bytes() == SOME
    assert not source.exists()


def test_a_file_that_changed_after_it_was_hashed_is_not_stored_as_what_it_was(
    blobs: BlobStore, tmp_path: Path
) -> None:
    """A blob under a wrong name would be one for ever."""
    source = tmp_path / "source"
    source.write_bytes(SOME)
    hashed = HashedFile.of(source)
    source.write_bytes(b"same bites")

    with pytest.raises(BlobMismatchError):
        blobs.put_file(hashed, expected=SOME_SHA256, move=True)

    assert files(blobs) == []


def test_a_blob_that_a_disk_cut_is_written_anew(blobs: BlobStore) -> None:
    blobs.put_bytes(SOME)
    blobs.path(SOME_SHA256).chmod(0o600)
    blobs.path(SOME_SHA256).write_bytes(b"so")

    blobs.put_bytes(SOME)

    assert blobs.path(SOME_SHA256).read_bytes() == SOME


def test_what_is_cut_is_lacking_and_makes_room_for_the_whole(blobs: BlobStore) -> None:
    whole, cut, empty = (blobs.put_bytes(data) for data in (b"whole", b"a file", b"a cover"))
    for sha256, left in ((cut, b"a fi"), (empty, b"")):
        blobs.path(sha256).chmod(0o600)
        blobs.path(sha256).write_bytes(left)

    lacking = [
        blobs.discard_cut(whole, 5),
        blobs.discard_cut(whole, None),
        blobs.discard_cut(cut, 6),
    ]

    assert lacking == [False, False, True]
    assert blobs.discard_cut(empty, None)
    assert blobs.discard_cut("0" * 64, None)
    assert [blobs.exists(sha256) for sha256 in (whole, cut, empty)] == [True, False, False]


def test_a_home_is_its_owners_alone(settings: Settings) -> None:
    """Whatever is put there later: downloads, files of a registry elsewhere."""
    _ = Registry(settings).blobs

    assert settings.home.stat().st_mode & 0o777 == 0o700


def test_nobody_else_reads_them(blobs: BlobStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"other bytes")
    hashes = [blobs.put_bytes(SOME), blobs.put_file(source, move=True)]

    for sha256 in hashes:
        path = blobs.path(sha256)
        assert [p.stat().st_mode & 0o777 for p in (path, path.parent, blobs.root)] == [
            0o400,
            0o700,
            0o700,
        ]


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "ABC", SOME_SHA256.upper()])
def test_a_name_that_is_no_hash_leads_nowhere(blobs: BlobStore, name: str) -> None:
    """Names come from addresses of the HTTP interface."""
    with pytest.raises(BlobNotFoundError):
        blobs.open(name)


def test_a_missing_blob_is_said_to_be_missing(blobs: BlobStore) -> None:
    with pytest.raises(BlobNotFoundError, match=SOME_SHA256):
        blobs.open(SOME_SHA256)


def test_a_full_disk_is_one_clear_line_and_nothing_half_done(
    blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)

    with pytest.raises(DiskFullError, match=r"no space left on the disk of .*blobs.*Free some"):
        blobs.put_bytes(SOME)

    assert files(blobs) == []


def test_a_store_that_may_not_be_written_to_says_so(
    blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no fault of the file: every other one would meet the same."""

    def refuse(path: Path, *_: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(os, "open", refuse)

    with pytest.raises(DiskClosedError, match=r"nothing can be written to .*blobs: Read-only"):
        blobs.put_bytes(SOME)


def test_a_really_full_disk(small_disk: Path) -> None:
    """The same on a file system of one megabyte."""
    blobs = BlobStore(small_disk / "blobs", DiskLimits(reserved_bytes=0))
    blobs.put_bytes(SOME)
    with pytest.raises(DiskFullError):
        blobs.put_bytes(os.urandom(2_000_000))
    with pytest.raises(NoRoomError):
        BlobStore(small_disk / "blobs").put_bytes(os.urandom(1_000_000))
    assert files(blobs) == [blobs.path(SOME_SHA256)]
    blobs.put_bytes(b"there is room again for a small one")


WRITE_HALF = """
import sys, time
from pathlib import Path
from registry.blobs import BlobStore

def halves():
    yield b"half of it"
    print("half", flush=True)
    time.sleep(60)
    yield b"never"

BlobStore(Path(sys.argv[1]))._write(halves(), "0" * 64, "x")
"""


def test_a_killed_writer_leaves_nothing_for_long(blobs: BlobStore) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITE_HALF, str(blobs.root)], stdout=subprocess.PIPE
    )
    with writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"half\n"
        assert blobs.clean() == 0, "a writer that lives is left alone"
        assert len(files(blobs)) == 1
        writer.send_signal(signal.SIGKILL)

    assert blobs.clean() == 1
    assert files(blobs) == []


@pytest.mark.usefixtures("locks_of_nfs")
def test_what_killed_writers_left_is_removed_on_nfs_too(blobs: BlobStore) -> None:
    """Whether they were killed before or after it was closed to all writing."""
    blobs.put_bytes(SOME)
    left = blobs.root / "tmp"
    (left / "half").write_bytes(b"half of it")
    (left / "whole").write_bytes(SOME)
    (left / "whole").chmod(0o400)

    assert blobs.clean() == 2
    assert [path.name for path in files(blobs)] == [SOME_SHA256]


def test_cleaning_an_empty_store_does_nothing(blobs: BlobStore) -> None:
    assert blobs.clean() == 0


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells what is held")
def test_large_files_are_not_read_whole(blobs: BlobStore, tmp_path: Path) -> None:
    """An adapter of a 12B base has 600 MB; eight are fetched at once."""
    source = tmp_path / "large"
    with source.open("wb") as stream:
        stream.truncate(200_000_000)
    code = (
        "from pathlib import Path; from benchmarks.memory import memory_bytes\n"
        "from registry.blobs import BlobStore\n"
        # A child's peak begins at its parent's.
        "Path('/proc/self/clear_refs').write_text('5'); before = memory_bytes('VmRSS')\n"
        f"BlobStore(Path({str(blobs.root)!r})).put_file(Path({str(source)!r}))\n"
        "print(memory_bytes('VmHWM') - before)"
    )

    grown = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout

    assert int(grown) < 20e6


def files(blobs: BlobStore) -> list[Path]:
    return [path for path in blobs.root.rglob("*") if path.is_file()]


def test_a_full_disk_is_found_among_causes_even_where_they_go_round() -> None:
    full, last = OSError(errno.ENOSPC, "no space"), ValueError("last")
    last.__cause__ = full
    assert is_disk_full(last)

    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert not is_disk_full(first)
