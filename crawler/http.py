"""The one HTTP client: polite to hubs, careful with what strangers point it at."""

import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ssl import SSLContext
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpcore
import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt

from crawler.addresses import AddressGuard, Resolve, origin, resolve, shown
from crawler.errors import GoneError, SourceError

USER_AGENT = "autolora-registry/0.1 (LoRA search; crawls politely)"
MAX_REDIRECTS = 5
# A hub that asks for more patience than this gets it by being left for the next crawl.
MAX_RETRY_AFTER_SECONDS = 30.0

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
T = TypeVar("T")

# When the answer being waited for must be complete, on time.monotonic()'s clock. The sockets
# look at it themselves: a peer that sends a byte now and then never runs into a read timeout.
_deadline: ContextVar[float] = ContextVar("deadline")


class Pace:
    """Keeps requests to one host apart. Threads may share it."""

    def __init__(self, requests_per_second: float) -> None:
        self._interval_seconds = 1 / requests_per_second
        self._next: dict[str, float] = {}
        self._lock = threading.Lock()

    def wait(self, host: str) -> None:
        """Sleep until the next request to `host` is due."""
        with self._lock:
            now = time.monotonic()
            due = max(now, self._next.get(host, 0.0))
            self._next[host] = due + self._interval_seconds
        time.sleep(due - now)


def retry_after_seconds(value: str | None) -> float | None:
    """Read a Retry-After header: seconds or a date; None where it is neither."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        due = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (due.replace(tzinfo=due.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def polite_retries(attempts: int) -> Retrying:
    """Repeat a call while it raises a retryable `SourceError`, waiting as the hub asked."""
    return Retrying(
        retry=retry_if_exception(_worth_retrying),
        stop=stop_after_attempt(attempts),
        wait=_wait_seconds,
        reraise=True,
    )


def _worth_retrying(error: BaseException) -> bool:
    if not isinstance(error, SourceError) or not error.retryable:
        return False
    return (error.retry_after_seconds or 0) <= MAX_RETRY_AFTER_SECONDS


def _wait_seconds(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, SourceError) and error.retry_after_seconds is not None:
        return error.retry_after_seconds
    return float(min(0.5 * 2 ** (state.attempt_number - 1), 8.0))


@dataclass(frozen=True, slots=True)
class Part:
    """Some bytes of a file, the size of the whole, and where it was in the end."""

    data: bytes
    size: int
    url: str


@dataclass(frozen=True, slots=True)
class _Redirect:
    url: str


class PoliteClient:
    """Gets urls from the public internet, slowly, within limits of size and time.

    - https only, to public addresses only, at every redirect; the connection goes to the
      very address that was checked. `allowed_origins` (an operator's endpoint on loopback)
      are exempt.
    - 429, 5xx and broken connections are retried as Retry-After says.
    - No cookies; the headers of a call do not follow a redirect to another origin.
    """

    def __init__(
        self,
        *,
        allowed_origins: Collection[str] = (),
        requests_per_second: float = 5.0,
        timeout_seconds: float = 30.0,
        max_bytes: int = 32 * 2**20,
        attempts: int = 3,
        transport: httpx.BaseTransport | None = None,
        resolve: Resolve = resolve,
    ) -> None:
        self._guard = AddressGuard(allowed_origins, resolve)
        self._pace = Pace(requests_per_second)
        self._timeout_seconds = timeout_seconds
        self._max_bytes = max_bytes
        self._attempts = attempts
        self._http = httpx.Client(
            transport=transport or _GuardedTransport(self._guard),
            timeout=httpx.Timeout(timeout_seconds, connect=min(10.0, timeout_seconds)),
            # Compressed answers are a way around the limit of bytes.
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def get(
        self,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Return the body behind a url.

        Raises:
            AddressRefusedError: the url, or one it leads to, is not for us to visit.
            GoneError: there is nothing (404, 410).
            SourceError: anything else that went wrong.
        """
        return self._retry(url, params, headers, self._read)

    def get_part(self, url: str, start: int, stop: int) -> Part:
        """Return bytes `start` to `stop` of the file behind a url, fewer where it ends before.

        A server that ignores ranges is read from the beginning and hung up on at `stop`.

        Raises:
            SourceError: as `get` does; also where the answer is not the range asked for.
        """
        asked = {"Range": f"bytes={start}-{stop - 1}"}
        return self._retry(url, None, asked, lambda response: _read_part(response, start, stop))

    def _retry(
        self,
        url: str,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        read: Callable[[httpx.Response], T],
    ) -> T:
        try:
            asked = str(httpx.URL(url, params=params) if params else httpx.URL(url))
        except (httpx.InvalidURL, TypeError) as error:
            raise SourceError(f"{shown(str(url))} is not an address: {error}") from error
        answer: T = polite_retries(self._attempts)(self._get_once, asked, dict(headers or {}), read)
        return answer

    def _get_once(
        self, url: str, headers: dict[str, str], read: Callable[[httpx.Response], T]
    ) -> T:
        start = url
        for _ in range(MAX_REDIRECTS + 1):
            self._guard.check_url(url)
            self._pace.wait(urlsplit(url).hostname or "")
            answer = self._ask(url, headers, read)
            if not isinstance(answer, _Redirect):
                return answer
            if origin(answer.url) != origin(url):
                headers = {name: value for name, value in headers.items() if name == "Range"}
            url = answer.url
        raise SourceError(f"{shown(start)} redirects more than {MAX_REDIRECTS} times")

    def _ask(
        self, url: str, headers: dict[str, str], read: Callable[[httpx.Response], T]
    ) -> T | _Redirect:
        """Return what `read` makes of the answer, or where it redirects to."""
        token = _deadline.set(time.monotonic() + self._timeout_seconds)
        try:
            with self._http.stream("GET", url, headers=headers) as response:
                if response.next_request is not None:
                    return _Redirect(str(response.next_request.url))
                _check_status(response, (200, 206) if "Range" in headers else (200,))
                _check_encoding(response)
                return read(response)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            cause = str(error) or type(error).__name__
            raise SourceError(
                f"{shown(url)} cannot be fetched ({cause}). Check the network; running again "
                "continues from here.",
                retryable=isinstance(error, httpx.TransportError),
            ) from error
        finally:
            _deadline.reset(token)
            self._http.cookies.clear()

    def _read(self, response: httpx.Response) -> bytes:
        where = shown(str(response.url))
        too_large = SourceError(f"{where} is larger than {self._max_bytes} bytes; not fetched")
        announced = response.headers.get("Content-Length", "")
        if announced.isdigit() and int(announced) > self._max_bytes:
            raise too_large
        body = _read_until(response, self._max_bytes + 1)
        if len(body) > self._max_bytes:
            raise too_large
        return body


def _read_until(response: httpx.Response, stop: int) -> bytes:
    """Return the body, or its first `stop` bytes and what came along with them."""
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if time.monotonic() > _deadline.get():
            raise httpx.ReadTimeout("not complete in time")
        if len(body) >= stop:
            break
    return bytes(body)


def _read_part(response: httpx.Response, start: int, stop: int) -> Part:
    where, url = shown(str(response.url)), str(response.url)
    if response.status_code == 200:
        announced = response.headers.get("Content-Length", "")
        body = _read_until(response, stop)
        if announced.isdigit():
            return Part(body[start:stop], int(announced), url)
        if len(body) >= stop:
            raise SourceError(f"{where} neither answers ranges nor tells the size of its file")
        return Part(body[start:stop], len(body), url)
    told = response.headers.get("Content-Range", "")
    match = _CONTENT_RANGE.fullmatch(told)
    first, last, size = map(int, match.groups()) if match else (-1, -1, -1)
    expected = min(stop, size) - start
    # One more than expected is enough to know of a lie.
    body = _read_until(response, expected + 1) if expected > 0 else b""
    if (first, last) != (start, start + expected - 1) or len(body) != expected:
        raise SourceError(
            f"{where} was asked for bytes {start} to {stop - 1} and sent {len(body)} bytes "
            f"called {told[:60]!r}"
        )
    return Part(body, size, url)


def _check_encoding(response: httpx.Response) -> None:
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        where = shown(str(response.url))
        raise SourceError(f"{where} answered compressed although asked not to")


def _check_status(response: httpx.Response, good: Collection[int]) -> None:
    if response.status_code in good:
        return
    where, status = shown(str(response.url)), response.status_code
    if status in (404, 410):
        raise GoneError(f"{where} is not there (HTTP {status})")
    raise SourceError(
        f"{where} answered HTTP {status}",
        retryable=status == 429 or status >= 500,
        retry_after_seconds=retry_after_seconds(response.headers.get("Retry-After")),
    )


class _GuardedTransport(httpx.HTTPTransport):
    """httpx's own transport over sockets that connect only to checked addresses."""

    def __init__(self, guard: AddressGuard) -> None:
        context = httpx.create_ssl_context()
        super().__init__(verify=context, trust_env=False)
        # httpx has no argument for httpcore's network backend. Checking there, and not a
        # step earlier, means that the address checked is the address connected to, while
        # names in TLS, the Host header and the connection pool stay what they are.
        self._pool.close()
        self._pool = httpcore.ConnectionPool(
            ssl_context=context,
            max_connections=20,
            keepalive_expiry=5.0,
            network_backend=_GuardedBackend(guard),
        )


class _GuardedBackend(httpcore.SyncBackend):
    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in self._guard.addresses(host, port):
            try:
                stream = super().connect_tcp(
                    address, port, _within_deadline(timeout), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _TimedStream(stream)
        raise failure


class _TimedStream(httpcore.NetworkStream):
    """A stream on which no wait outlasts the deadline of the request."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _within_deadline(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _within_deadline(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        limit = _within_deadline(timeout)
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, limit))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _within_deadline(timeout: float | None) -> float:
    left = _deadline.get() - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the answer took too long")
    return left if timeout is None else min(timeout, left)
