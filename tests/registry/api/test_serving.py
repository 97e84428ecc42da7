"""The server at its limits: a database that hangs, and requests that never end."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

from registry.api.app import create_app
from registry.api.deps import MOST_ASKING, MOST_FETCHING, Places
from registry.api.pages.render import static_url
from registry.blobs import BlobStore
from registry.cli import server
from registry.service import Registry
from tests.builders import add_adapter
from tests.registry.api.conftest import add_cover, add_file
from tests.registry.api.servers import served
from tests.registry.conftest import add_real_encoder

# More than the server has threads.
MANY = 60


def test_health_and_static_files_answer_while_the_database_hangs(
    registry: Registry, engine: Engine
) -> None:
    """Whatever else waits for it; and what waits is answered in the end, or told to come back."""
    with registry.sessions.begin() as session:
        add_adapter(session)
    with (
        served(create_app(registry)) as (host, port),
        ThreadPoolExecutor(MANY) as many,
        httpx.Client(base_url=f"http://{host}:{port}", timeout=60) as client,
        httpx.Client(
            base_url=f"http://{host}:{port}", timeout=60, limits=httpx.Limits(max_connections=MANY)
        ) as waiting,
    ):
        with registry.sessions() as session:
            session.execute(text("LOCK TABLE adapters IN ACCESS EXCLUSIVE MODE"))
            answers = [many.submit(waiting.get, "/v1/adapters") for _ in range(MANY)]
            with engine.connect() as watcher:
                hanging = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
                while (watcher.scalar(hanging) or 0) < MOST_ASKING - 1:
                    watcher.rollback()
            for url in ("/healthz", static_url("page.css"), static_url("page.js")):
                assert client.get(url).status_code == 200
            session.rollback()
        statuses = [answer.result().status_code for answer in answers]

    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= MOST_ASKING - 1


class HangingBlobs(BlobStore):
    """A bucket that lets everybody wait, until it is told to answer."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked = threading.Semaphore(0)
        self.answers = threading.Event()

    def path(self, sha256: str) -> Path:
        self.asked.release()
        self.answers.wait()
        return super().path(sha256)

    def exists(self, sha256: str) -> bool:
        return self.path(sha256).is_file()


def test_searches_answer_while_the_blob_store_hangs(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They need none of it, whoever waits for covers or asks whether all is ready."""
    cover = f"/v1/adapters/{add_cover(registry).id}/covers/0"
    add_real_encoder(registry)
    hanging = HangingBlobs(registry.settings.blobs)
    with (
        served(create_app(registry)) as (host, port),
        ThreadPoolExecutor(MANY) as many,
        httpx.Client(
            base_url=f"http://{host}:{port}", timeout=60, limits=httpx.Limits(max_connections=MANY)
        ) as client,
    ):
        # Which has the encoder loaded.
        assert client.get("/v1/search?q=fox").status_code == 200
        monkeypatch.setattr(registry, "_blobs", hanging)
        # Some places of the pool are left to what is asked below.
        urls = ["/readyz", *([cover] * (MANY - 10))]
        answers = [many.submit(client.get, url) for url in urls]
        try:
            for _ in range(MOST_FETCHING):
                assert hanging.asked.acquire(timeout=30)
            for url in ("/v1/search?q=boat", "/healthz", static_url("page.css")):
                assert client.get(url).status_code == 200
        finally:
            hanging.answers.set()
        statuses = [answer.result().status_code for answer in answers]

    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= MOST_FETCHING


def test_no_place_at_the_database_is_a_503(client: TestClient, registry: Registry) -> None:
    client.app.state.places = Places(most=0, wait_seconds=0)  # type: ignore[attr-defined]

    for url in ("/v1/search?q=fox", "/readyz", "/"):
        answer = client.get(url)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")


def test_no_connection_in_time_is_a_503(registry: Registry) -> None:
    """The refresh of the same process may have them all."""
    engine = registry.sessions.kw["bind"]
    engine.pool._timeout = 0.01
    taken = [engine.connect() for _ in range(20)]

    with TestClient(create_app(registry), base_url="http://127.0.0.1") as client:
        answers = [client.get("/readyz"), client.get("/v1/search?q=fox")]

    for connection in taken:
        connection.close()
    for answer in answers:
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
        assert answer.json()["title"] == "Database busy"


@pytest.mark.parametrize(
    "half",
    [
        b"",
        b"GET /healthz HTTP/1.1\r\nHost: 127",
        b"POST /v1/fuse HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b'Content-Length: 100\r\n\r\n{"prompt"',
        # The first whole, the second half.
        b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /healthz HTTP/1.1\r\nHost",
        b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nPOST /v1/search HTTP/1.1\r\n"
        b"Host: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
    ],
    ids=["nothing", "head", "body", "second", "body of the second"],
)
def test_who_sends_half_a_request_is_hung_up_on(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, half: bytes
) -> None:
    """Each such connection takes an open file, and a process has not many."""
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.2)
    with served(create_app(registry)) as address, socket.create_connection(address, 30) as line:
        line.sendall(half)
        while True:
            try:
                if not line.recv(4096):
                    break
            except ConnectionResetError:
                break


def test_who_sends_slowly_but_whole_is_answered(registry: Registry) -> None:
    with served(create_app(registry)) as address, socket.create_connection(address, 30) as line:
        for byte in b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n":
            line.sendall(bytes([byte]))

        assert line.recv(4096).startswith(b"HTTP/1.1 200")


def body_in_pieces(address: tuple[str, int], pieces: list[bytes], pause: float) -> bytes:
    """Send a question in pieces with pauses between them; return the answer, b"" for none."""
    head = (
        b"POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )
    with socket.create_connection(address, 30) as line:
        try:
            line.sendall(head % sum(map(len, pieces)))
            for piece in pieces:
                time.sleep(pause)
                line.sendall(piece)
            return b"".join(iter(lambda: line.recv(65536), b""))
        except (BrokenPipeError, ConnectionResetError):
            return b""


def test_a_body_that_keeps_coming_has_the_time_that_it_needs(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of some gigabytes takes longer than a request's time on any line."""
    with registry.sessions.begin() as session:
        add_adapter(session)
    monkeypatch.setattr(server, "REQUEST_SECONDS", 1.5)
    monkeypatch.setattr(server, "PROGRESS_BYTES", 1000)
    with served(create_app(registry)) as address:
        answer = body_in_pieces(address, [*[b" " * 1000] * 10, b'{"q": "fox"}'], pause=0.3)

    assert answer.startswith(b"HTTP/1.1 200")


def test_a_body_that_drips_is_hung_up_on(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That something comes is not enough, or a byte now and then would keep the line for ever."""
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.5)
    monkeypatch.setattr(server, "PROGRESS_BYTES", 1000)
    with served(create_app(registry)) as address:
        answer = body_in_pieces(address, [*[b" "] * 200, b'{"q": "fox"}'], pause=0.05)

    assert answer == b""


def test_the_time_begins_with_the_first_byte(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Browsers open lines before they know what they will ask on them."""
    monkeypatch.setattr(server, "REQUEST_SECONDS", 1.0)
    with served(create_app(registry)) as address, socket.create_connection(address, 30) as line:
        time.sleep(0.95)
        line.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        time.sleep(0.2)
        line.sendall(b"Connection: close\r\n\r\n")

        assert line.recv(4096).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("at_once", [True, False])
def test_an_address_may_be_typed_in_chinese(registry: Registry, at_once: bool) -> None:
    """curl sends what it is given; browsers write %E7%8C%AB for 猫."""
    with registry.sessions.begin() as session:
        add_adapter(session, name="猫", words="猫")
    # In a header's value such bytes are nobody's address.
    head = ["GET /v1/search?q=猫 HTTP/1.1", "Host: 127.0.0.1", "X-Who: 谁", "Connection: close"]
    sent = "\r\n".join([*head, "", ""]).encode()
    with served(create_app(registry)) as address, socket.create_connection(address, 30) as line:
        for part in [sent] if at_once else [bytes([byte]) for byte in sent]:
            line.sendall(part)
        answer = b"".join(iter(lambda: line.recv(65536), b"")).decode()

    assert answer.startswith("HTTP/1.1 200")
    assert '"猫"' in answer


def test_head_is_answered_as_get_is_without_the_body(registry: Registry) -> None:
    """Download programs ask it for the length."""
    adapter = add_file(registry, 1, "fox")
    cover = add_cover(registry)
    with (
        served(create_app(registry)) as (host, port),
        # A page is not twice the same when it is compressed: it bears a fresh nonce.
        httpx.Client(
            base_url=f"http://{host}:{port}", timeout=60, headers={"Accept-Encoding": "identity"}
        ) as client,
    ):
        for url in (
            "/healthz",
            "/v1/adapters",
            f"/v1/adapters/{adapter}/file",
            f"/v1/adapters/{cover.id}/covers/0",
            "/",
            f"/adapters/{adapter}",
            "/v1/adapters/999",
        ):
            got, headed = client.get(url), client.head(url)
            assert headed.status_code == got.status_code
            assert headed.headers["content-length"] == got.headers["content-length"]
            assert headed.content == b""
        assert client.head("/v1/fuse").status_code == 405
