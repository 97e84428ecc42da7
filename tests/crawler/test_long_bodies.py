"""Long files, whose bodies are taken off the socket past httpx: as good as short ones."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from crawler.disk import DiskLimits
from crawler.download import fetch_file
from crawler.errors import HashMismatchError, SourceError
from crawler.hashed_file import HashedFile
from crawler.http import PoliteClient
from crawler.records import FileRecord
from demo.hub.ranges import FileServer, serve_file
from tests.crawler.test_download import RECORD as SHORT

DATA = hashlib.shake_128(b"a long file").digest(3 * 2**20 + 17)
SHA256 = hashlib.sha256(DATA).hexdigest()
RECORD = replace(SHORT, file=FileRecord("long.safetensors", len(DATA), SHA256))
CUT = 2 * 2**20 + 5


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "source"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def server(source: Path) -> Iterator[FileServer]:
    with serve_file(source) as server:
        yield server


def open_client(server: FileServer, timeout_seconds: float = 5.0) -> PoliteClient:
    return PoliteClient(
        allowed_origins=[server.url],
        requests_per_second=1000,
        attempts=1,
        timeout_seconds=timeout_seconds,
    )


def fetch(client: PoliteClient, server: FileServer, path: Path) -> HashedFile:
    return fetch_file(client, server.url, RECORD, path, DiskLimits(reserved_bytes=0))


def test_a_long_file_comes_whole_and_hashed(server: FileServer, tmp_path: Path) -> None:
    with open_client(server) as client:
        # More than once: what is read past httpx leaves its connections in order.
        for name in ("a", "b"):
            fetched = fetch(client, server, tmp_path / name)
            assert fetched.path.read_bytes() == DATA
            assert fetched == HashedFile.of(tmp_path / name)
        assert client.get_part(server.url, 5, 9).data == DATA[5:9]


def test_a_long_file_that_is_cut_goes_on_where_it_stopped(
    server: FileServer, tmp_path: Path
) -> None:
    server.body = DATA[:CUT]
    server.headers = {"Content-Length": str(len(DATA)), "Connection": "close"}
    with open_client(server) as client:
        with pytest.raises(SourceError, match="ended before"):
            fetch(client, server, tmp_path / "a")
        server.body, server.headers = None, {}

        assert fetch(client, server, tmp_path / "a").path.read_bytes() == DATA

    assert [asked for _, asked in server.requests] == [None, f"bytes={CUT}-"]


def test_a_long_file_that_stands_still_is_left_and_what_came_is_kept(
    server: FileServer, tmp_path: Path
) -> None:
    server.body = DATA[:CUT]
    server.headers = {"Content-Length": str(len(DATA))}

    # A busy machine may take longer than the first to send what there is.
    for seconds in (0.3, 3.0, 30.0):
        kept = kept_after(seconds, server, tmp_path / str(seconds))
        assert DATA.startswith(kept)
        if len(kept) == CUT:
            return
    pytest.fail(f"of {CUT} bytes that came {len(kept)} were kept")


def kept_after(seconds: float, server: FileServer, folder: Path) -> bytes:
    """Return what is kept of a file when nothing more has come for so long."""
    folder.mkdir()
    with (
        open_client(server, timeout_seconds=seconds) as client,
        pytest.raises(SourceError, match="cannot be fetched"),
    ):
        fetch(client, server, folder / "a")
    return b"".join(path.read_bytes() for path in folder.iterdir())


def test_a_long_file_that_was_damaged_is_not_kept(server: FileServer, tmp_path: Path) -> None:
    server.body = DATA[:-1] + b"!"
    with open_client(server) as client, pytest.raises(HashMismatchError, match="sha256 is"):
        fetch(client, server, tmp_path / "a")

    assert list(tmp_path.iterdir()) == []
