"""A header read from afar: few requests, few bytes, and no belief in what the server says."""

import io
import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from crawler.download import FIRST_BYTES, read_remote_header
from crawler.errors import AddressRefusedError, GoneError, SourceError
from crawler.http import PoliteClient
from demo.hub.ranges import FileServer, serve_file
from encoder.adapter.safetensors_header import MAX_HEADER_BYTES, Header, parse_header
from encoder.errors import HeaderError, LoraFileError, NotSafetensorsError

# The bytes of an adapter of FLUX.1-dev, rank 16.
LARGE = 180_000_000


def write_sparse(path: Path, *, data_bytes: int = LARGE, comment: int = 0) -> bytes:
    """Write a file whose data is a hole: it takes no room on disk. Returns its header."""
    text = json.dumps(
        {
            "__metadata__": {"comment": "x" * comment},
            "a": {"dtype": "U8", "shape": [data_bytes], "data_offsets": [0, data_bytes]},
        }
    ).encode()
    header = struct.pack("<Q", len(text)) + text
    path.write_bytes(header)
    os.truncate(path, len(header) + data_bytes)
    return header


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    write_sparse(tmp_path / "a.safetensors")
    with serve_file(tmp_path / "a.safetensors") as server:
        yield server


def client_for(server: FileServer, *, timeout_seconds: float = 5.0) -> PoliteClient:
    return PoliteClient(
        allowed_origins=[server.url],
        requests_per_second=1000,
        attempts=1,
        timeout_seconds=timeout_seconds,
    )


def parse_remote(server: FileServer, path: str = "") -> Header:
    with client_for(server) as client:
        remote = read_remote_header(client, server.url + path)
    return parse_header(server.url, io.BytesIO(remote.data), remote.size)


def test_a_short_header_takes_one_request_and_under_a_percent(server: FileServer) -> None:
    header = parse_remote(server)

    assert header.tensors["a"].end == LARGE
    assert server.requests == [("/", f"bytes=0-{FIRST_BYTES - 1}")]
    assert server.sent_bytes < LARGE / 100


def test_a_long_header_takes_two_requests_and_not_a_byte_too_many(server: FileServer) -> None:
    header = write_sparse(server.path, comment=300_000)

    assert len(parse_remote(server).metadata["comment"]) == 300_000
    assert len(server.requests) == 2
    assert server.sent_bytes == len(header)


def test_the_second_request_goes_where_the_first_was_sent(server: FileServer) -> None:
    write_sparse(server.path, comment=300_000)

    parse_remote(server, "/moved")

    assert [path for path, _ in server.requests] == ["/moved", "/", "/"]
    assert all(asked for _, asked in server.requests)


def test_a_file_smaller_than_the_first_request_is_read_whole(server: FileServer) -> None:
    write_sparse(server.path, data_bytes=10)

    assert parse_remote(server).tensors["a"].shape == (10,)


@pytest.mark.parametrize("comment", [0, 300_000])
def test_a_server_that_ignores_ranges_is_hung_up_on(server: FileServer, comment: int) -> None:
    server.ranges = False
    header = write_sparse(server.path, comment=comment)

    assert parse_remote(server).tensors["a"].end == LARGE
    assert len(server.requests) == (2 if comment else 1)
    # What was under way when the connection closed counts as sent; it is far from all.
    assert server.sent_bytes < 20_000_000 + len(header)


@pytest.mark.parametrize(
    "told",
    [
        None,
        "",
        "bytes 1-131072/180000000",
        "bytes 0-131071/*",
        "bytes 0-131071/100",
        "bytes 0-131070/180000000",
        "bytes 0-131071/99999999999999999999999",
        "items 0-131071/180000000",
    ],
)
def test_a_range_other_than_the_one_asked_for_is_refused(
    server: FileServer, told: str | None
) -> None:
    server.headers = {"Content-Range": told}

    with pytest.raises(SourceError, match="was asked for bytes 0 to"):
        parse_remote(server)


def test_more_bytes_than_asked_for_are_refused(server: FileServer) -> None:
    server.body = bytes(FIRST_BYTES + 1)

    with pytest.raises(SourceError, match=f"sent {FIRST_BYTES + 1} bytes"):
        parse_remote(server)


@pytest.mark.parametrize("size", [LARGE // 2, 10 * LARGE])
def test_a_lie_about_the_size_contradicts_the_header(server: FileServer, size: int) -> None:
    server.headers = {"Content-Range": f"bytes 0-{FIRST_BYTES - 1}/{size}"}

    with pytest.raises(HeaderError, match="bytes of data, the file has"):
        parse_remote(server)


def test_a_file_that_changes_between_the_requests_is_refused(server: FileServer) -> None:
    write_sparse(server.path, comment=300_000)
    server.shrinks_by = 1

    with pytest.raises(SourceError, match="changed while its header was read"):
        parse_remote(server)


def test_no_size_at_all_is_refused(server: FileServer) -> None:
    server.ranges, server.headers = False, {"Content-Length": None}

    with pytest.raises(SourceError, match="nor tells the size"):
        parse_remote(server)


@pytest.mark.parametrize(
    ("body", "error", "cause"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", NotSafetensorsError, "LFS"),
        (b"<!doctype html><title>Log in</title>", NotSafetensorsError, "web page"),
        (b"\x80\x02}q\x00." + bytes(100), NotSafetensorsError, "pickle"),
        (b"PK\x03\x04" + bytes(100), NotSafetensorsError, "zip"),
        (b"12345678", HeaderError, "too few"),
        (struct.pack("<Q", 10) + b"{ }", HeaderError, "in a file of"),
        (struct.pack("<Q", 2**40) + b"{" + bytes(200), HeaderError, "at most"),
    ],
)
@pytest.mark.parametrize("ranges", [True, False])
def test_what_is_no_safetensors_costs_one_request(
    server: FileServer, body: bytes, error: type[LoraFileError], cause: str, ranges: bool
) -> None:
    server.ranges = ranges
    server.path.write_bytes(body)

    with pytest.raises(error, match=cause):
        parse_remote(server)

    assert len(server.requests) == 1


def test_an_empty_file_is_refused(server: FileServer) -> None:
    """It has no range to answer with (RFC 9110, 15.5.17)."""
    server.status, server.headers = 416, {"Content-Range": "bytes */0"}

    with pytest.raises(SourceError, match="416"):
        parse_remote(server)


def test_a_header_over_the_cap_is_not_fetched(server: FileServer) -> None:
    server.path.write_bytes(struct.pack("<Q", MAX_HEADER_BYTES + 1) + b"{" + bytes(200_000))
    os.truncate(server.path, LARGE)

    with pytest.raises(HeaderError, match="at most"):
        parse_remote(server)

    assert server.sent_bytes == FIRST_BYTES


def test_a_compressed_answer_is_refused(server: FileServer) -> None:
    server.headers = {"Content-Encoding": "gzip"}

    with pytest.raises(SourceError, match="compressed"):
        parse_remote(server)


def test_a_body_shorter_than_announced_is_refused(server: FileServer) -> None:
    server.body = bytes(100)
    server.headers = {"Content-Length": str(FIRST_BYTES), "Connection": "close"}

    with pytest.raises(SourceError, match="cannot be fetched"):
        parse_remote(server)


def test_a_drip_runs_into_the_deadline(server: FileServer) -> None:
    server.pause_seconds = 0.05

    with (
        client_for(server, timeout_seconds=0.3) as client,
        pytest.raises(SourceError, match="cannot be fetched"),
    ):
        read_remote_header(client, server.url)

    assert server.sent_bytes < 50


@pytest.mark.parametrize("target", ["https://127.0.0.1/x", "http://169.254.169.254/x", "file:///x"])
def test_redirects_into_our_network_are_not_followed(server: FileServer, target: str) -> None:
    server.redirect = target

    with pytest.raises(AddressRefusedError):
        parse_remote(server, "/moved")

    assert len(server.requests) == 1


def test_what_is_not_there_is_gone(server: FileServer) -> None:
    server.status = 404

    with pytest.raises(GoneError):
        parse_remote(server)


def test_a_token_goes_along_and_never_to_where_the_file_is_sent_from(
    server: FileServer, tmp_path: Path
) -> None:
    """The second request is for the address that the hub redirected to, and not for its token."""
    write_sparse(tmp_path / "b.safetensors", comment=300_000)
    with serve_file(tmp_path / "b.safetensors") as elsewhere:
        server.redirect = elsewhere.url
        origins = [server.url, elsewhere.url]
        with PoliteClient(allowed_origins=origins, requests_per_second=1000) as client:
            read_remote_header(client, f"{server.url}/moved", {"Authorization": "Bearer secret"})

    assert [sent.get("Authorization") for sent in server.sent_headers] == ["Bearer secret"]
    assert [sent.get("Authorization") for sent in elsewhere.sent_headers] == [None, None]


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"ETag": f'"{"a" * 64}"'}, "a" * 64),
        ({"ETag": f'W/"{"A" * 64}"'}, "a" * 64),
        ({"ETag": f'"{"b" * 64}"', "X-Linked-ETag": f'"{"a" * 64}"'}, "a" * 64),
        # A store's hash of parts, an md5, and what is none.
        ({"ETag": f'"{"a" * 32}-5"'}, None),
        ({"ETag": f'"{"a" * 64}\u00e9"'}, None),
        ({}, None),
    ],
)
def test_an_etag_is_a_hash_only_where_it_looks_like_one(
    server: FileServer, headers: dict[str, str], told: str | None
) -> None:
    server.headers |= headers
    with client_for(server) as client:
        assert read_remote_header(client, server.url).sha256 == told
