import gzip
import json
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from crawler.addresses import AddressGuard
from crawler.errors import (
    AccessDeniedError,
    AddressRefusedError,
    GoneError,
    NoAnswerError,
    SourceError,
)
from crawler.http import PoliteClient
from crawler.hub_json import MAX_DEPTH, MAX_JSON_BYTES, MAX_VALUES
from tests.crawler.builders import Clock

Answer = Callable[[httpx.Request], httpx.Response]


def client(answer: Answer, **settings: float) -> PoliteClient:
    """Return a client whose requests go to `answer`; it never waits long."""
    pace = {"requests_per_second": 10_000.0, **settings}
    return PoliteClient(transport=httpx.MockTransport(answer), **pace)  # type: ignore[arg-type]


@contextmanager
def raw_server(*chunks: bytes, pause_seconds: float = 0.0) -> Iterator[int]:
    """Serve every connection the same bytes, with pauses; yields the port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                for chunk in chunks:
                    try:
                        connection.sendall(chunk)
                    except OSError:
                        break
                    time.sleep(pause_seconds)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        # A close alone does not wake the thread that waits in accept.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


# With pauses of 50 ms, 20 s of them.
DRIPS = 400
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_busy_hub_is_asked_again_after_the_time_it_names(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([httpx.Response(status, headers={"Retry-After": "20"}), httpx.Response(200)])
    clock = Clock()
    monkeypatch.setattr("tenacity.nap.time", clock)

    client(lambda request: next(answers)).get("https://hub.example/")

    assert clock.slept == [20]


def test_a_hub_that_wants_much_patience_is_left_for_the_next_crawl() -> None:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(429, headers={"Retry-After": "3600"})

    with pytest.raises(SourceError, match="429"):
        client(answer).get("https://hub.example/")

    assert len(requests) == 1


NAMED = "http://127.0.0.1:8000"


def pauses(
    monkeypatch: pytest.MonkeyPatch, url: str, rate_limit: str, times: int = 2
) -> list[float]:
    """Ask `times` times, told so each time; return how long was waited before each request."""
    clock = Clock()
    monkeypatch.setattr("crawler.manners.time", clock)
    transport = httpx.MockTransport(
        lambda request: httpx.Response(200, headers={"RateLimit": rate_limit})
    )
    with PoliteClient(
        transport=transport, requests_per_second=1000, allowed_origins=[NAMED]
    ) as polite:
        for _ in range(times):
            polite.get(url)
    return clock.slept


@pytest.mark.parametrize(("url", "slept"), [(NAMED, [20]), ("https://cdn.example", [])])
def test_all_wait_where_one_is_told_to(
    monkeypatch: pytest.MonkeyPatch, url: str, slept: list[float]
) -> None:
    """Of eight that ask an operator's hub at once seven would go on asking."""
    clock = Clock()
    monkeypatch.setattr("crawler.manners.time.sleep", clock.sleep)
    monkeypatch.setattr("crawler.manners.time.monotonic", clock.monotonic)
    answers = iter([httpx.Response(429, headers={"Retry-After": "20"}), httpx.Response(200)])
    with PoliteClient(
        transport=httpx.MockTransport(lambda request: next(answers)),
        requests_per_second=1e9,
        attempts=1,
        allowed_origins=[NAMED],
    ) as polite:
        with pytest.raises(SourceError, match="429"):
            polite.get(f"{url}/a")
        polite.get(f"{url}/b")

    assert [round(seconds) for seconds in clock.slept if seconds > 1] == slept


@pytest.mark.parametrize(
    ("rate_limit", "seconds"),
    [
        ('"api";r=0;t=55', 55),
        ('"api";r=10;t=50', 5),
        ('"api"; r = 10 ; t = 50', 5),
        ('"api";r=0;t=999999999', 300),
        ('"api";r=-1;t=9', 0),
        ("gibberish", 0),
    ],
)
def test_the_pace_follows_what_a_rate_limit_leaves(
    monkeypatch: pytest.MonkeyPatch, rate_limit: str, seconds: float
) -> None:
    slept = pauses(monkeypatch, f"{NAMED}/x", rate_limit)

    # The first of two requests waits for nothing.
    assert len(slept) <= 1
    assert sum(slept) == pytest.approx(seconds, abs=1)


def test_only_the_hub_of_the_settings_can_slow_us(monkeypatch: pytest.MonkeyPatch) -> None:
    """Covers come from wherever their authors say."""
    slept = pauses(monkeypatch, "https://author.example/cover.png", '"api";r=0;t=300', times=3)

    assert sum(slept) < 1


def test_a_page_tells_the_next_one() -> None:
    links = '<https://hub.example/api/models?cursor=abc>; rel="next"'
    answer = httpx.Response(200, json=[1], headers={"Link": links})

    found = client(lambda request: answer).ask_page("https://hub.example/api/models")

    assert found == ([1], "https://hub.example/api/models?cursor=abc")


def test_why_a_hub_refuses_is_told() -> None:
    refusal = httpx.Response(403, headers={"X-Error-Code": "GatedRepo\x1b[2J"})

    with pytest.raises(AccessDeniedError, match=r"HTTP 403, GatedRepo\\x1b"):
        client(lambda request: refusal).get("https://hub.example/")


@pytest.mark.parametrize("status", [403, 429, 503])
def test_a_challenge_for_browsers_is_no_refusal(status: int) -> None:
    """It concerns whoever asks, not what is asked for, and passes."""
    challenge = httpx.Response(status, headers={"cf-mitigated": "challenge"}, text="Just a moment")

    with pytest.raises(NoAnswerError, match=f"HTTP {status}, a challenge") as caught:
        client(lambda request: challenge, attempts=1).get("https://hub.example/")

    assert caught.value.retryable


@pytest.mark.parametrize("login", ["/login?reason=download-auth", "https://auth.example/login/"])
def test_a_redirect_to_a_login_is_a_refusal(login: str) -> None:
    """Its page would be taken for the file."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(307, headers={"Location": login})

    with pytest.raises(AccessDeniedError, match="HTTP 307, to a login"):
        client(answer).get("https://hub.example/file")

    assert asked == ["/file"]


def test_broken_connections_are_tried_again_and_then_reported() -> None:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        raise httpx.ConnectError("refused")

    with pytest.raises(SourceError, match=r"cannot be fetched \(refused\)"):
        client(answer, attempts=2).get("https://hub.example/")

    assert len(requests) == 2


@pytest.mark.parametrize(
    ("status", "error"), [(404, GoneError), (410, GoneError), (403, SourceError)]
)
def test_refusals_are_not_repeated(status: int, error: type[SourceError]) -> None:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(status)

    with pytest.raises(error, match=str(status)):
        client(answer).get("https://hub.example/")

    assert len(requests) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://hub.example/",
        "ftp://hub.example/",
        "file:///etc/passwd",
        "https://user:secret@hub.example/",
        "//hub.example",
        "hub.example",
        "https://",
        "https://hub.example:x/",
        "https://[::1",
        "",
    ],
)
def test_only_https_is_visited(url: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise AssertionError("nothing may be sent")

    with pytest.raises(SourceError):
        client(answer).get(url)


def test_a_name_that_leads_into_our_network_is_not_visited() -> None:
    with (
        raw_server(OK) as port,
        PoliteClient(resolve=lambda host, port: ["127.0.0.1"]) as polite,
        pytest.raises(AddressRefusedError, match=r"127\.0\.0\.1"),
    ):
        polite.get(f"https://innocent.example:{port}/")


def test_one_bad_address_among_good_ones_is_enough() -> None:
    guard = AddressGuard(resolve=lambda host, port: ["8.8.8.8", "10.0.0.1"])

    with pytest.raises(AddressRefusedError):
        guard.addresses("hub.example", 443)


def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    """A second lookup could answer something else; there is none."""
    lookups: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        lookups.append(host)
        return ["127.0.0.1"]

    with raw_server(OK) as port:
        origin = f"http://named.example:{port}"
        with PoliteClient(allowed_origins=[origin], resolve=resolve) as polite:
            assert polite.get(f"{origin}/x") == b"hi"

    assert lookups == ["named.example"]


def test_an_allowed_origin_allows_no_other_port() -> None:
    with (
        raw_server(OK) as port,
        PoliteClient(allowed_origins=["http://127.0.0.1:1"]) as polite,
        pytest.raises(AddressRefusedError),
    ):
        polite.get(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    "target", ["http://hub.example/x", "https://127.0.0.1/x", "https://localhost/x"]
)
def test_every_redirect_is_checked_again(target: str) -> None:
    redirect = f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()
    with raw_server(redirect) as port:
        origin = f"http://127.0.0.1:{port}"
        with (
            PoliteClient(allowed_origins=[origin]) as polite,
            pytest.raises(AddressRefusedError),
        ):
            polite.get(origin)


def test_redirects_end() -> None:
    with pytest.raises(SourceError, match="redirects more than"):
        client(lambda request: httpx.Response(302, headers={"Location": "/again"})).get(
            "https://hub.example/"
        )


def test_credentials_and_cookies_stay_with_their_origin() -> None:
    seen: list[tuple[str, str | None, str | None]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        headers = request.headers
        seen.append((request.url.host, headers.get("X-Key"), headers.get("Cookie")))
        if request.url.path == "/start":
            cookie = {"Set-Cookie": "session=1; Domain=example"}
            return httpx.Response(302, headers={"Location": "/same", **cookie})
        if request.url.path == "/same":
            return httpx.Response(302, headers={"Location": "https://other.example/"})
        return httpx.Response(200, text="{}")

    client(answer).ask_json("GET", "https://hub.example/start", headers={"X-Key": "secret"})

    assert seen == [
        ("hub.example", "secret", None),
        ("hub.example", "secret", None),
        ("other.example", None, None),
    ]


@pytest.mark.parametrize("announced", [True, False])
def test_bodies_are_bounded(announced: bool) -> None:
    body = b"x" * 1000

    def chunks() -> Iterator[bytes]:
        yield from (body, body)

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=body if announced else chunks())

    with pytest.raises(SourceError, match="larger than 999 bytes"):
        client(answer, max_bytes=999).get("https://hub.example/")


def test_compressed_bodies_are_refused() -> None:
    """A few KB of gzip can be GBs."""

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["Accept-Encoding"] == "identity"
        headers = {"Content-Encoding": "gzip", "Content-Length": "0"}
        return httpx.Response(200, headers=headers, stream=httpx.ByteStream(b""))

    with pytest.raises(SourceError, match="compressed"):
        client(answer).get("https://hub.example/")


@pytest.mark.parametrize(
    "drips",
    [
        [b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * DRIPS, b"Content-Length: 0\r\n\r\n"],
        [OK.replace(b": 2", b": %d" % (DRIPS + 2)), *[b"h"] * DRIPS],
    ],
    ids=["headers", "body"],
)
def test_a_server_that_drips_is_left(drips: list[bytes]) -> None:
    """Each byte comes in time, and the whole answer, a good one, long after it."""
    with raw_server(*drips) as port:
        origin = f"http://127.0.0.1:{port}"
        with PoliteClient(allowed_origins=[origin], attempts=1) as patient:
            patient.get(origin)
    with raw_server(*drips, pause_seconds=0.05) as port:
        origin = f"http://127.0.0.1:{port}"
        with (
            PoliteClient(allowed_origins=[origin], timeout_seconds=0.3, attempts=1) as polite,
            pytest.raises(SourceError),
        ):
            polite.get(origin)


def test_requests_to_one_host_keep_their_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("crawler.manners.time", clock)
    polite = client(lambda request: httpx.Response(200), requests_per_second=20)

    for host in ("a", "b", "a", "b", "a"):
        polite.get(f"https://{host}.example/")

    # The first request to a host waits for nothing.
    assert clock.slept == pytest.approx([0.05, 0.05])


def answers(body: bytes, **headers: str) -> PoliteClient:
    """Return a client that gets `body` for an answer, piece by piece as from a network."""
    pieces = [body[start : start + 4096] for start in range(0, len(body), 4096)]
    return client(lambda request: httpx.Response(200, headers=headers, content=iter(pieces)))


def ask(polite: PoliteClient) -> Any:
    return polite.ask_json("GET", "https://hub.example/")


def test_json_is_read_compressed_or_not() -> None:
    assert ask(answers(b'{"a": [1]}')) == {"a": [1]}
    packed = gzip.compress(json.dumps(["x" * 10**6]).encode())
    assert ask(answers(packed, **{"Content-Encoding": "gzip"})) == ["x" * 10**6]


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b"<html>", "not JSON"),
        (b"\xff", "not JSON"),
        (b"9" * 5000, "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested more than"),
        (b"[" + b"[]," * MAX_VALUES + b"[]]", "values"),
        (b'"' + b"x" * MAX_JSON_BYTES + b'"', "more than 16777216 bytes"),
    ],
    ids=["page", "binary", "number", "endless", "deep", "many", "large"],
)
def test_json_is_bounded_in_size_values_and_depth(body: bytes, cause: str) -> None:
    with pytest.raises(SourceError, match=cause):
        ask(answers(body))


@pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda data: data[:20] + b"x" + data])
def test_damaged_compression_is_an_error_of_ours(damage: Callable[[bytes], bytes]) -> None:
    body = damage(gzip.compress(b"[1, 2, 3]" * 1000))

    with pytest.raises(SourceError, match=r"broken gzip|cut"):
        ask(answers(body, **{"Content-Encoding": "gzip"}))


def test_a_compressed_bomb_takes_no_more_memory_than_an_answer_may() -> None:
    """200 KB of it would be 200 MB."""
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(2**20)
    bomb = b"".join(packer.compress(zeros) for _ in range(200)) + packer.flush()
    assert len(bomb) < 220_000

    tracemalloc.start()
    try:
        with pytest.raises(SourceError, match="more than 16777216 bytes"):
            ask(answers(bomb, **{"Content-Encoding": "gzip"}))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 5 * MAX_JSON_BYTES


def test_a_question_with_a_body_is_asked_again_where_it_is_redirected() -> None:
    seen: list[tuple[str, str, bytes]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.method, request.url.path, request.content))
        if request.url.path == "/old":
            return httpx.Response(308, headers={"Location": "/new"})
        return httpx.Response(200, text="{}")

    client(answer).ask_json("PUT", "https://hub.example/old", body={"a": 1})

    assert seen == [("PUT", "/old", b'{"a": 1}'), ("PUT", "/new", b'{"a": 1}')]
