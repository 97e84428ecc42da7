"""The one HTTP client: polite to hubs, careful with what strangers point it at."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt

from crawler.addresses import AddressGuard, Resolve, origin, resolve, shown
from crawler.answers import (
    CONTENT_RANGE,
    Body,
    Part,
    check_encoding,
    check_status,
    read_json,
    read_page,
    read_part,
    read_until,
)
from crawler.errors import AccessDeniedError, NoAnswerError, RangeError, SourceError
from crawler.foreign_text import quoted
from crawler.manners import Bandwidth, Pace
from crawler.retry_after import retry_after_seconds
from crawler.transport import (
    GuardedTransport,
    check_deadline,
    deadline,
    extend_deadline,
    read_body,
)

USER_AGENT = "autolora-registry/0.1 (LoRA search; crawls politely)"
MAX_REDIRECTS = 5
# A hub that asks for more patience than this gets it by being left for the next crawl.
MAX_RETRY_AFTER_SECONDS = 30.0
BUSY = (429, 503)
# A file may take as long as it likes, if so much of it comes within each timeout.
PROGRESS_BYTES = 2**18
# What follows a redirect to another origin.
_HARMLESS_HEADERS = ("Range", "Accept", "Accept-Encoding", "Content-Type")
T = TypeVar("T")


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
class _Question:
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None = None
    # The answers that led here.
    history: tuple[httpx.Response, ...] = ()


class PoliteClient:
    """Asks the public internet, slowly, within limits of size and time.

    - https only, to public addresses only, at every redirect; the connection goes to the
      very address that was checked. `allowed_origins` (an operator's endpoint on loopback)
      are exempt.
    - 408, 429, 5xx and broken connections are retried as Retry-After says; RateLimit headers of an
      operator's endpoint slow the pace.
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
        bandwidth: Bandwidth | None = None,
        transport: httpx.BaseTransport | None = None,
        resolve: Resolve = resolve,
    ) -> None:
        self._guard = AddressGuard(allowed_origins, resolve)
        self._named = {origin(url) for url in allowed_origins}
        self._pace = Pace(requests_per_second)
        self._timeout_seconds = timeout_seconds
        self._max_bytes = max_bytes
        self._attempts = attempts
        self._bandwidth = bandwidth or Bandwidth(None)
        self._http = httpx.Client(
            transport=transport or GuardedTransport(self._guard),
            timeout=httpx.Timeout(timeout_seconds, connect=min(10.0, timeout_seconds)),
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

    def retry(self, attempt: Callable[[], T]) -> T:
        """Repeat what raises a retryable `SourceError`, waiting as the hub asked."""
        retrying = Retrying(
            retry=retry_if_exception(_worth_retrying),
            stop=stop_after_attempt(self._attempts),
            wait=_wait_seconds,
            reraise=True,
        )
        return retrying(attempt)

    def get(self, url: str) -> bytes:
        """Return the body behind a url.

        Raises:
            AddressRefusedError: the url, or one it leads to, is not for us to visit.
            GoneError: there is nothing (404, 410).
            AccessDeniedError: it is not for us (401, 403).
            SourceError: anything else that went wrong.
        """
        return self.retry(lambda: self._ask(_Question("GET", url, {}), self._read))

    def get_part(
        self, url: str, start: int, stop: int, *, headers: Mapping[str, str] | None = None
    ) -> Part:
        """Return bytes `start` to `stop` of the file behind a url, fewer where it ends before.

        A server that ignores ranges is read from the beginning and hung up on at `stop`.

        Raises:
            SourceError: as `get` does; also where the answer is not the range asked for.
        """
        sent = {**(headers or {}), "Range": f"bytes={start}-{stop - 1}"}
        question = _Question("GET", url, sent)
        part = self.retry(lambda: self._ask(question, lambda a: read_part(a, start, stop)))
        self._bandwidth.take(len(part.data))
        return part

    def ask_json(
        self,
        method: str,
        url: str,
        *,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Return the JSON that answers a question; raises as `get` does.

        It may come compressed, and is bounded in what it becomes: bytes, values, depth.
        """
        question = _json_question(method, url, body, headers)
        return self.retry(lambda: self._ask(question, read_json))

    def ask_page(
        self, url: str, headers: Mapping[str, str] | None = None
    ) -> tuple[Any, str | None]:
        """Return JSON as `ask_json` does, and the address that its Link header calls next."""
        question = _json_question("GET", url, None, headers)
        return self.retry(lambda: self._ask(question, read_page))

    def read_file(
        self,
        url: str,
        start: int,
        read: Callable[[Body], T],
        *,
        headers: Mapping[str, str] | None = None,
    ) -> T:
        """Give `read` the file behind a url from byte `start` on, or all of it; once, no retry.

        Raises:
            RangeError: the server does not go on at `start`, nor begins anew.
            SourceError: as `get` does.
        """
        sent = dict(headers or {}) | ({"Range": f"bytes={start}-"} if start else {})
        question = _Question("GET", url, sent)
        return self._ask(question, lambda answer: read(self._body(answer, start)))

    def _ask(self, question: _Question, read: Callable[[httpx.Response], T]) -> T:
        """Return what `read` makes of the answer, following redirects."""
        start = question.url
        for _ in range(MAX_REDIRECTS + 1):
            self._guard.check_url(question.url)
            self._pace.wait(urlsplit(question.url).hostname or "")
            answer = self._ask_once(question, read)
            if not isinstance(answer, _Question):
                return answer
            question = answer
        raise SourceError(f"{shown(start)} redirects more than {MAX_REDIRECTS} times")

    def _ask_once(self, question: _Question, read: Callable[[httpx.Response], T]) -> T | _Question:
        """Return what `read` makes of the answer, or the question to ask instead."""
        with deadline(self._timeout_seconds):
            try:
                with self._http.stream(
                    question.method,
                    question.url,
                    headers=dict(question.headers),
                    content=question.body,
                ) as response:
                    self._heed(question.url, response)
                    if response.next_request is not None:
                        return _redirected(question, response)
                    # As httpx notes it where it follows redirects itself.
                    response.history = list(question.history)
                    check_status(response, (200, 206) if "Range" in question.headers else (200,))
                    return read(response)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                cause = str(error) or type(error).__name__
                retryable = isinstance(error, httpx.TransportError)
                raise NoAnswerError(shown(question.url), cause, retryable=retryable) from error
            finally:
                self._http.cookies.clear()

    def _heed(self, url: str, response: httpx.Response) -> None:
        # Of the operator's hub only: any author of a cover could make us wait otherwise.
        if origin(url) not in self._named:
            return
        host = urlsplit(url).hostname or ""
        self._pace.heed(host, response.headers.get("RateLimit"))
        if response.status_code in BUSY:
            seconds = retry_after_seconds(response.headers.get("Retry-After")) or 0.0
            # Whoever asks for more is not asked at all.
            if seconds <= MAX_RETRY_AFTER_SECONDS:
                self._pace.rest(host, seconds)

    def _read(self, response: httpx.Response) -> bytes:
        announced = response.headers.get("Content-Length", "")
        if not announced.isdigit() or int(announced) <= self._max_bytes:
            check_encoding(response)
            body = read_until(response.iter_bytes(), self._max_bytes + 1)
            if len(body) <= self._max_bytes:
                return body
        where = shown(str(response.url))
        raise SourceError(f"{where} is larger than {self._max_bytes} bytes; not fetched")

    def _body(self, response: httpx.Response, start: int) -> Body:
        check_encoding(response)
        if response.status_code == 200:
            return Body(0, self._in_time(response))
        told = response.headers.get("Content-Range", "")
        match = CONTENT_RANGE.fullmatch(told)
        if not match or int(match[1]) != start:
            where = shown(str(response.url))
            raise RangeError(f"{where} was asked to go on at byte {start} and sent {quoted(told)}")
        return Body(start, self._in_time(response))

    def _in_time(self, response: httpx.Response) -> Iterator[bytes | memoryview]:
        left = PROGRESS_BYTES
        for chunk in read_body(response):
            yield chunk
            # What came before the time was over is good.
            check_deadline()
            left -= len(chunk)
            if left <= 0:
                extend_deadline(self._timeout_seconds)
                left = PROGRESS_BYTES
            if self._bandwidth.take(len(chunk)):
                # That was our own doing.
                extend_deadline(self._timeout_seconds)


def _json_question(
    method: str, url: str, body: Mapping[str, Any] | None, headers: Mapping[str, str] | None
) -> _Question:
    sent = {**(headers or {}), "Accept": "application/json", "Accept-Encoding": "gzip"}
    data = None
    if body is not None:
        data, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
    return _Question(method, url, sent, data)


def _redirected(question: _Question, answer: httpx.Response) -> _Question:
    """Return the question that httpx would ask next, without what another origin may not know.

    Raises:
        AccessDeniedError: it leads to where people log in, whose page is not what was asked for.
    """
    headers, request = question.headers, answer.next_request
    assert request is not None
    if request.url.path.rstrip("/") == "/login":
        raise AccessDeniedError(
            f"{shown(question.url)} does not let us in (HTTP {answer.status_code}, to a login)"
        )
    if origin(str(request.url)) != origin(question.url):
        headers = {name: value for name, value in headers.items() if name in _HARMLESS_HEADERS}
    body = question.body if request.method == question.method else None
    return _Question(request.method, str(request.url), headers, body, (*question.history, answer))
