import hashlib
import resource
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from crawler.answers import Body
from crawler.disk import DiskLimits
from crawler.download import (
    PartialFile,
    download_folder,
    fetch_file,
    place,
    safe_relative_path,
)
from crawler.errors import (
    DownloadError,
    FileTooLargeError,
    HashMismatchError,
    NoRoomError,
    SourceError,
)
from crawler.hashed_file import HashedFile
from crawler.http import PROGRESS_BYTES, PoliteClient
from crawler.records import AdapterRecord, FileRecord
from demo.hub.ranges import FileServer, serve_file
from tests.crawler.builders import Clock

DAY = datetime(2025, 1, 1, tzinfo=UTC)
RECORD = AdapterRecord(
    hub="modelscope",
    repo="alice/cat",
    version="",
    name="cat",
    author="alice",
    description="",
    trigger_words=(),
    tags=(),
    base_model_words=(),
    licence=None,
    mature=None,
    downloads=0,
    created_at=DAY,
    updated_at=DAY,
    file=FileRecord("cat.safetensors", None, "a" * 64),
    covers=(),
    page_url="",
)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/../../x", "/x", "a\\b", "C:x", "a\0b", "a\nb", "x" * 250, "猫" * 85],
)
def test_unsafe_names_are_refused(name: str) -> None:
    with pytest.raises(DownloadError, match="not safe"):
        safe_relative_path(name)


@pytest.mark.parametrize("name", ["x", "a/b.safetensors", "猫.safetensors", "a b..c", "./x"])
def test_safe_names_stay(name: str) -> None:
    assert safe_relative_path(name) == Path(name)


def test_equal_names_with_other_bytes_do_not_share_a_folder(tmp_path: Path) -> None:
    """One would go on with the other's partial transfer."""
    other = replace(RECORD, file=FileRecord("cat.safetensors", None, "b" * 64))

    assert download_folder(RECORD, tmp_path) != download_folder(other, tmp_path)
    assert download_folder(RECORD, tmp_path) == download_folder(RECORD, tmp_path)


def test_a_link_inside_the_target_leads_nowhere(tmp_path: Path) -> None:
    folder = download_folder(RECORD, tmp_path)
    folder.mkdir()
    (folder / "sub").symlink_to(tmp_path)
    record = replace(RECORD, file=replace(RECORD.file, name="sub/x.safetensors"))

    with pytest.raises(DownloadError, match="leads out"):
        place(record, tmp_path)


SIZE = 300_000
DATA = bytes(range(256)) * (SIZE // 256) + bytes(SIZE % 256)
SHA256 = hashlib.sha256(DATA).hexdigest()
ANY = FileRecord("cat.safetensors", None, None)
KNOWN = FileRecord("cat.safetensors", SIZE, SHA256)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    source = tmp_path / "source"
    source.write_bytes(DATA)
    with serve_file(source) as server:
        yield server


def fetch(
    server: FileServer,
    folder: Path,
    file: FileRecord = KNOWN,
    limits: DiskLimits | None = None,
    timeout_seconds: float = 5.0,
) -> Path:
    """Fetch what `server` serves; of what was fetched nothing else may be in `folder`."""
    path = folder / "cat.safetensors"
    with PoliteClient(
        allowed_origins=[server.url],
        requests_per_second=1000,
        attempts=2,
        timeout_seconds=timeout_seconds,
    ) as client:
        record = replace(RECORD, file=file)
        limits = limits or DiskLimits(reserved_bytes=0)
        fetched = fetch_file(client, server.url, record, path, limits)
    assert fetched == HashedFile.of(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def test_a_file_is_there_whole_under_its_name(server: FileServer, folder: Path) -> None:
    assert fetch(server, folder).read_bytes() == DATA
    assert [path.name for path in folder.iterdir()] == ["cat.safetensors"]


def test_a_file_announced_too_large_is_not_even_asked_for(server: FileServer, folder: Path) -> None:
    with pytest.raises(FileTooLargeError, match=r"alice/cat/cat\.safetensors has 300,000"):
        fetch(server, folder, limits=DiskLimits(max_file_bytes=SIZE - 1, reserved_bytes=0))

    assert server.requests == []


def test_an_endless_file_ends_at_the_limit(server: FileServer, folder: Path) -> None:
    """Whatever size was announced, or none."""
    server.headers["Content-Length"] = None

    with pytest.raises(FileTooLargeError, match="REGISTRY_MAX_FILE_BYTES"):
        fetch(server, folder, ANY, DiskLimits(max_file_bytes=100_000, reserved_bytes=0))

    assert list(folder.iterdir()) == []


def test_more_than_was_announced_is_not_taken(server: FileServer, folder: Path) -> None:
    server.headers["Content-Length"] = None

    with pytest.raises(HashMismatchError, match="more than the 1000 bytes"):
        fetch(server, folder, replace(KNOWN, size=1000))

    assert list(folder.iterdir()) == []
    assert len(server.requests) == 1


@pytest.mark.parametrize("file", [KNOWN, ANY], ids=["announced", "not announced"])
def test_the_reserve_of_the_disk_is_never_entered(
    server: FileServer, folder: Path, file: FileRecord
) -> None:
    """PostgreSQL lives on the same disk, and cannot start on a full one."""
    least = disk = 200_000

    def usage(_: Path) -> tuple[int, int, int]:
        nonlocal least
        used = sum(path.stat().st_size for path in folder.iterdir())
        least = min(least, disk - used)
        return disk, used, disk - used

    with pytest.raises(NoRoomError, match="REGISTRY_RESERVED_BYTES"):
        fetch(server, folder, file, DiskLimits(reserved_bytes=50_000, usage=usage))

    assert list(folder.iterdir()) == []
    assert least >= 50_000


def test_a_disk_that_is_full_all_the_same_is_given_back_what_came(
    server: FileServer, folder: Path
) -> None:
    """Another program may have filled it: a limit of the process stands for the disk's."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    try:
        with pytest.raises(DownloadError, match="cannot be written"):
            fetch(server, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)

    assert list(folder.iterdir()) == []


def begin(folder: Path, data: bytes) -> None:
    (folder / "cat.safetensors.incomplete").write_bytes(data)


def test_a_cut_transfer_goes_on_where_it_stopped(server: FileServer, folder: Path) -> None:
    begin(folder, DATA[:100_000])

    assert fetch(server, folder).read_bytes() == DATA
    assert [asked for _, asked in server.requests] == ["bytes=100000-"]


@pytest.mark.parametrize("start", [100_000, SIZE])
def test_a_server_without_ranges_begins_anew(server: FileServer, folder: Path, start: int) -> None:
    server.ranges = False
    begin(folder, b"x" * start)

    assert fetch(server, folder, replace(ANY, sha256=SHA256)).read_bytes() == DATA


@pytest.mark.parametrize(
    "told", ["bytes 7-299999/300000", "bytes 100000-299999/*", "nonsense", None]
)
def test_a_server_that_goes_on_elsewhere_is_asked_for_all(
    server: FileServer, folder: Path, told: str | None
) -> None:
    begin(folder, DATA[:100_000])
    server.headers["Content-Range"] = told

    assert fetch(server, folder).read_bytes() == DATA
    assert [asked for _, asked in server.requests] == ["bytes=100000-", None]


def test_what_was_damaged_on_the_way_is_not_kept(server: FileServer, folder: Path) -> None:
    begin(folder, b"x" * 100_000)

    with pytest.raises(HashMismatchError, match="sha256 is"):
        fetch(server, folder)

    assert list(folder.iterdir()) == []
    assert fetch(server, folder).read_bytes() == DATA


def test_a_file_that_a_power_cut_damaged_is_fetched_again(server: FileServer, folder: Path) -> None:
    """It had its name before its bytes were on the disk."""
    (folder / "cat.safetensors").write_bytes(bytes(SIZE))

    assert fetch(server, folder).read_bytes() == DATA


def test_a_file_is_fetched_by_one_process_at_a_time(server: FileServer, folder: Path) -> None:
    """Two would append to one partial file."""
    partial = folder / "cat.safetensors.incomplete"
    with (
        PartialFile(partial, "cat", KNOWN, DiskLimits(reserved_bytes=0)),
        pytest.raises(DownloadError, match="another process"),
    ):
        fetch(server, folder)

    assert fetch(server, folder).read_bytes() == DATA


def test_a_server_that_drips_is_left_and_what_came_is_kept(
    server: FileServer, folder: Path
) -> None:
    server.pause_seconds = 0.02

    with pytest.raises(SourceError, match="cannot be fetched"):
        fetch(server, folder, timeout_seconds=0.3)

    [partial] = folder.iterdir()
    assert DATA.startswith(partial.read_bytes())


def test_a_long_transfer_that_goes_on_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given up is a file that stands still for a timeout, not one that takes longer."""
    clock = Clock()
    monkeypatch.setattr("crawler.transport.time", clock)

    def slowly() -> Iterator[bytes]:
        for _ in range(6):
            clock.sleep(10)
            yield bytes(PROGRESS_BYTES)

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=slowly())

    def count(body: Body) -> int:
        return sum(map(len, body.chunks))

    transport = httpx.MockTransport(answer)
    with PoliteClient(transport=transport, timeout_seconds=15, attempts=1) as client:
        assert client.read_file("https://hub.example/", 0, count) == 6 * PROGRESS_BYTES
