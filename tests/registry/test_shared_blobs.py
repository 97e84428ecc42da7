"""Blobs in an S3 that several machines share: moto's, on loopback."""

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from crawler.errors import NoRoomError
from registry import local_copies, shared_blobs
from registry.blobs import BlobStore
from registry.config import Settings
from registry.errors import BlobMismatchError, BlobNotFoundError, BlobStoreError
from registry.local_copies import IN_USE_SECONDS
from registry.service import Registry
from registry.shared_blobs import SharedBlobStore
from registry.upkeep.checkup import check_database
from tests.registry.conftest import add_real_encoder

URL = "s3://adapters/blobs"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1"}
    for name, value in (keys | {"AWS_ENDPOINT_URL": server, "AWS_ALLOW_HTTP": "true"}).items():
        monkeypatch.setenv(name, value)
    s3 = boto3.resource("s3", endpoint_url=server, region_name="us-east-1")
    made = s3.create_bucket(Bucket="adapters")
    yield
    made.objects.all().delete()
    made.delete()


@pytest.fixture
def here(bucket: None, tmp_path: Path) -> SharedBlobStore:
    return SharedBlobStore(tmp_path / "here", URL)


@pytest.fixture
def elsewhere(bucket: None, tmp_path: Path) -> SharedBlobStore:
    return SharedBlobStore(tmp_path / "elsewhere", URL)


def test_what_one_machine_stores_another_has(
    here: SharedBlobStore, elsewhere: SharedBlobStore, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(12_000_001))  # sent in parts
    content = source.read_bytes()

    sha256 = here.put_file(source, move=True)

    assert elsewhere.exists(sha256)
    assert elsewhere.path(sha256).read_bytes() == content
    with elsewhere.open(here.put_bytes(b"some bytes")) as stream:
        assert stream.read() == b"some bytes"


def test_what_was_stored_here_and_never_sent_is_sent_by_storing_it_again(
    here: SharedBlobStore, elsewhere: SharedBlobStore
) -> None:
    """A process may be killed between the two."""
    sha256 = BlobStore(here.root).put_bytes(b"some bytes")
    assert not here.exists(sha256)

    here.put_bytes(b"some bytes")

    assert elsewhere.exists(sha256)


def test_what_was_never_sent_is_sent_where_it_is_wanted_but_for_what_a_disk_damaged(
    here: SharedBlobStore, elsewhere: SharedBlobStore
) -> None:
    """Else it comes from the hub again, though it lies here."""
    store = BlobStore(here.root)
    whole, damaged, nowhere = store.put_bytes(b"whole"), store.put_bytes(b"a file"), "0" * 64
    store.path(damaged).chmod(0o600)
    store.path(damaged).write_bytes(b"a fi")

    assert [here.share(sha256) for sha256 in (whole, damaged, nowhere)] == [5, None, None]

    assert elsewhere.path(whole).read_bytes() == b"whole"
    assert not elsewhere.exists(damaged)
    assert not store.exists(damaged)


def test_bytes_that_are_not_the_named_ones_never_appear(
    here: SharedBlobStore, elsewhere: SharedBlobStore, server: str
) -> None:
    sha256 = here.put_bytes(b"some bytes")
    key = f"blobs/{sha256[:2]}/{sha256}"
    s3 = boto3.resource("s3", endpoint_url=server, region_name="us-east-1")
    s3.Object("adapters", key).put(Body=b"evil bytes")

    with pytest.raises(BlobMismatchError, match=sha256):
        elsewhere.path(sha256)

    assert not BlobStore(elsewhere.root).exists(sha256)


def test_what_the_store_has_lost_or_cut_is_lacking_whatever_is_here(
    here: SharedBlobStore, elsewhere: SharedBlobStore
) -> None:
    whole, lost, cut = (here.put_bytes(data) for data in (b"whole", b"lost", b"a file"))
    s3 = boto3.resource("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], region_name="us-east-1")
    objects = {blob.key[-64:]: blob for blob in s3.Bucket("adapters").objects.all()}
    objects[lost].delete()
    objects[cut].put(Body=b"a fi")

    lacking = [here.discard_cut(sha256, size) for sha256, size in ((whole, 5), (lost, 4), (cut, 6))]

    assert lacking == [False, True, True]
    here.put_bytes(b"lost")
    here.put_bytes(b"a file")
    assert elsewhere.path(lost).read_bytes() == b"lost"
    assert elsewhere.path(cut).read_bytes() == b"a file"


def test_copies_used_longest_ago_make_room_at_the_reserve(
    bucket: None,
    settings: Settings,
    elsewhere: SharedBlobStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a registry ends where the disk here does, though its bucket has room."""
    monkeypatch.setattr(local_copies, "LEAST_BYTES", 30)
    room = 100
    limits = replace(
        settings.model_copy(update={"blobs_url": URL}).disk_limits,
        reserved_bytes=50,
        usage=lambda _: (10**6, 0, 50 + room - sum(map(size_of, files(settings.blobs)))),
    )
    here = SharedBlobStore(settings.blobs, URL, limits)
    old, older, used, asked, open_ = (here.put_bytes(b"%d" % n * 15) for n in range(5))
    for age, sha256 in enumerate((old, older, asked, open_), 1):
        long_ago = time.time() - age * 10 * IN_USE_SECONDS
        os.utime(settings.blobs / sha256[:2] / sha256, (long_ago, long_ago))
    here.path(asked)
    with here.open(open_) as stream:
        os.utime(stream.fileno(), (0, 0))

        here.put_bytes(b"x" * 40)

        assert stream.read() == b"4" * 15
    assert {path.name for path in files(settings.blobs)} >= {old, used, asked}
    assert not {path.name for path in files(settings.blobs)} & {older, open_}
    for sha256 in (old, older, used, asked, open_):
        assert elsewhere.path(sha256).stat().st_size == 15
    with pytest.raises(NoRoomError):
        here.put_bytes(b"x" * 200)


def test_a_size_is_told_without_fetching(here: SharedBlobStore, elsewhere: SharedBlobStore) -> None:
    sha256 = here.put_bytes(b"some bytes")

    assert elsewhere.size(sha256) == 10
    assert elsewhere.size("0" * 64) is None
    assert not elsewhere.root.exists()


def test_what_nobody_has_is_not_found(here: SharedBlobStore) -> None:
    sha256 = hashlib.sha256(b"nothing").hexdigest()

    assert not here.exists(sha256)
    assert not here.path(sha256).exists()
    with pytest.raises(BlobNotFoundError):
        here.open(sha256)
    with pytest.raises(BlobNotFoundError):
        here.path("../../etc/passwd")


def test_a_store_that_does_not_answer_is_named_in_one_line(
    bucket: None, tmp_path: Path, settings: Settings
) -> None:
    with pytest.raises(BlobStoreError, match=r"s3://nobodys answers: .*Check REGISTRY_BLOBS_URL"):
        SharedBlobStore(tmp_path, "s3://nobodys").put_bytes(b"some bytes")
    for url in ("nonsense", "gopher://x/y"):
        with pytest.raises(BlobStoreError) as caught:
            SharedBlobStore(tmp_path, url)
        assert "\n" not in str(caught.value)
    shared = settings.model_copy(update={"blobs_url": URL})
    with Registry(shared) as registry:
        assert isinstance(registry.blobs, SharedBlobStore)


def test_an_endpoint_without_tls_is_said_to_want_a_word_more(
    here: SharedBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a MinIO of one's own; obstore says no more than "builder error"."""
    assert not here.exists("0" * 64)
    monkeypatch.delenv("AWS_ALLOW_HTTP")

    with pytest.raises(BlobStoreError, match="wants AWS_ALLOW_HTTP=true"):
        SharedBlobStore(tmp_path / "other", URL).exists("0" * 64)


def test_doctor_asks_the_store(
    bucket: None, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = registry.settings.model_copy(update={"blobs_url": URL})
    [well] = [found for found in check_database(settings) if found.what == "blobs"]
    name = add_real_encoder(registry)
    [lost] = [found for found in check_database(settings) if found.what == "blobs"]
    nowhere = settings.model_copy(update={"blobs_url": "s3://no-such-bucket/blobs"})
    monkeypatch.setenv("AWS_ALLOW_HTTP", "false")
    [deaf] = [found for found in check_database(nowhere) if found.what == "blobs"]

    assert [finding.level for finding in (well, lost, deaf)] == ["fine", "wrong", "wrong"]
    assert f"the checkpoint of encoder {name} is not in the blob store" in lost.said
    assert "Check REGISTRY_BLOBS_URL" in deaf.said


def test_two_processes_that_store_the_same_at_once_both_have_it(
    bucket: None, tmp_path: Path
) -> None:
    program = (
        "import sys; from pathlib import Path; from registry.shared_blobs import SharedBlobStore\n"
        "store = SharedBlobStore(Path(sys.argv[1]), sys.argv[2])\n"
        "for number in range(20): store.put_bytes(b'blob %d' % number)"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path / name), URL])
        for name in ("one", "two")
    ]

    assert [process.wait() for process in running] == [0, 0]

    third = SharedBlobStore(tmp_path / "three", URL)
    for number in range(20):
        blob = b"blob %d" % number
        assert third.path(hashlib.sha256(blob).hexdigest()).read_bytes() == blob


class SlowBucket(ThreadingHTTPServer):
    """An S3 with one blob, of which half comes at once, and the rest in drops or when asked again.

    No ETag is told of the one that drips: a transfer of it that is cut stays so.
    """

    def __init__(self, blob: bytes = b"", *, falls_silent: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), SlowAnswers)
        self.blob, self.falls_silent = blob, falls_silent
        self.over = threading.Event()
        # How many parts came at once, and come.
        self.counting = threading.Lock()
        self.most_parts = self.parts = 0


class SlowAnswers(BaseHTTPRequestHandler):
    server: SlowBucket

    def log_message(self, *_: object) -> None:
        """Keep still."""

    def do_HEAD(self) -> None:
        self._begin(self.server.blob, 200 if self.server.blob else 404)

    def do_GET(self) -> None:
        blob, asked = self.server.blob, self.headers.get("Range")
        begin = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
        self._begin(blob[begin:], 206 if asked else 200, begin)
        half = len(blob) // 2
        self.wfile.write(blob[begin:] if asked else blob[:half])
        if self.server.falls_silent and not asked:
            self.server.over.wait()
        elif not asked:
            for drop in range(half, len(blob)):
                time.sleep(0.1)
                self.wfile.write(blob[drop : drop + 1])

    def do_POST(self) -> None:
        if "uploadId=" in self.path:
            said = (
                b"<CompleteMultipartUploadResult><ETag>all</ETag></CompleteMultipartUploadResult>"
            )
        else:
            said = b"<InitiateMultipartUploadResult><UploadId>7</UploadId>"
            said += b"</InitiateMultipartUploadResult>"
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._begin(said)
        self.wfile.write(said)

    def do_PUT(self) -> None:
        with self.server.counting:
            self.server.parts += 1
            self.server.most_parts = max(self.server.most_parts, self.server.parts)
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(0.2)
        with self.server.counting:
            self.server.parts -= 1
        self._begin(b"", etag="part")

    def _begin(self, body: bytes, status: int = 200, begin: int = 0, etag: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        if status == 206:
            total = len(self.server.blob)
            self.send_header("Content-Range", f"bytes {begin}-{total - 1}/{total}")
        if etag or self.server.falls_silent:
            self.send_header("ETag", f'"{etag}"')
        self.end_headers()


@contextmanager
def slow_bucket(slow: SlowBucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{slow.server_port}")
    serving = threading.Thread(target=slow.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    try:
        yield
    finally:
        slow.over.set()
        slow.shutdown()
        serving.join()
        slow.server_close()


def test_a_blob_may_take_long_as_long_as_it_comes(
    bucket: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large one over a slow line takes longer than any whole question may."""
    monkeypatch.setenv("AWS_TIMEOUT", "1 second")
    blob = b"a blob of forty bytes that comes in drops"
    with slow_bucket(SlowBucket(blob), monkeypatch):
        here = SharedBlobStore(tmp_path, URL)
        assert here.path(hashlib.sha256(blob).hexdigest()).read_bytes() == blob


def test_a_blob_that_falls_silent_goes_on_where_it_stopped(
    bucket: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_blobs, "MOST_SILENCE", timedelta(seconds=0.3))
    blob = b"a blob of which half comes"
    with slow_bucket(SlowBucket(blob, falls_silent=True), monkeypatch):
        here = SharedBlobStore(tmp_path, URL)
        assert here.path(hashlib.sha256(blob).hexdigest()).read_bytes() == blob


def test_few_parts_are_sent_at_once(
    bucket: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many each takes too long on a slow line, and all are sent again."""
    slow = SlowBucket()
    with slow_bucket(slow, monkeypatch):
        SharedBlobStore(tmp_path, URL).put_bytes(bytes(20_000_001))
    assert 0 < slow.most_parts <= 2


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def size_of(path: Path) -> int:
    return path.stat().st_size
