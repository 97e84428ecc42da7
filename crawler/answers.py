"""What servers answer, read within bounds: JSON, parts of files, statuses."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from crawler.addresses import shown
from crawler.errors import AccessDeniedError, GoneError, NoAnswerError, RangeError, SourceError
from crawler.foreign_text import one_line, quoted
from crawler.hub_json import MAX_JSON_BYTES, pieces, read_answer
from crawler.retry_after import retry_after_seconds
from crawler.transport import check_deadline

CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Part:
    """Some bytes of a file, and where it was in the end; size and sha256 are of the whole.

    The sha256 is what an ETag says, where it is one.
    """

    data: bytes
    size: int
    url: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Body:
    """A file on its way: its bytes from `start` on. Nothing of it is to be believed.

    Each chunk is good until the next is asked for.
    """

    start: int
    chunks: Iterator[bytes | memoryview]


def read_until(chunks: Iterator[bytes], stop: int) -> bytes:
    """Return all of `chunks`, or the first `stop` bytes and what came along with them."""
    body = bytearray()
    for chunk in chunks:
        body += chunk
        check_deadline()
        if len(body) >= stop:
            break
    return bytes(body)


def read_json(response: httpx.Response) -> Any:
    where = shown(str(response.url))
    return read_answer(read_until(pieces(response, where), MAX_JSON_BYTES + 1), where)


def read_page(response: httpx.Response) -> tuple[Any, str | None]:
    return read_json(response), response.links.get("next", {}).get("url")


def read_part(response: httpx.Response, start: int, stop: int) -> Part:
    check_encoding(response)
    where, url = shown(str(response.url)), str(response.url)
    sha256 = _told_sha256(response)
    if response.status_code == 200:
        announced = response.headers.get("Content-Length", "")
        body = read_until(response.iter_bytes(), stop)
        if announced.isdigit():
            return Part(body[start:stop], int(announced), url, sha256)
        if len(body) >= stop:
            raise SourceError(f"{where} neither answers ranges nor tells the size of its file")
        return Part(body[start:stop], len(body), url, sha256)
    told = response.headers.get("Content-Range", "")
    match = CONTENT_RANGE.fullmatch(told)
    first, last, size = map(int, match.groups()) if match else (-1, -1, -1)
    expected = min(stop, size) - start
    # One more than expected is enough to know of a lie.
    body = read_until(response.iter_bytes(), expected + 1) if expected > 0 else b""
    if (first, last) != (start, start + expected - 1) or len(body) != expected:
        raise SourceError(
            f"{where} was asked for bytes {start} to {stop - 1} and sent {len(body)} bytes "
            f"called {quoted(told, 60)}"
        )
    return Part(body, size, url, sha256)


def _told_sha256(response: httpx.Response) -> str | None:
    """Return the sha256 that a hub, or whom it redirects to, gives as an ETag; None without."""
    for answer in (*response.history, response):
        # Hugging Face and ModelScope call that of the file itself so where they redirect.
        for name in ("X-Linked-ETag", "ETag"):
            told = answer.headers.get(name, "").removeprefix("W/").strip('"').lower()
            if _SHA256.fullmatch(told):
                return str(told)
    return None


def check_encoding(response: httpx.Response) -> None:
    # Compressed answers are a way around the limit of bytes.
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        where = shown(str(response.url))
        raise SourceError(f"{where} answered compressed although asked not to")


def check_status(response: httpx.Response, good: Collection[int]) -> None:
    status = response.status_code
    if status in good:
        return
    where, cause = shown(str(response.url)), f"HTTP {status}"
    if code := response.headers.get("X-Error-Code"):
        cause += f", {one_line(code, 40)}"
    if status in (404, 410):
        raise GoneError(f"{where} is not there ({cause})", withdrawn=status == 410)
    # Who stands before a hub wants to see a person [1]: that says nothing of what was asked for.
    # - [1] https://developers.cloudflare.com/cloudflare-challenges/challenge-types/challenge-pages/detect-response/
    is_challenge = response.headers.get("cf-mitigated") == "challenge"
    if is_challenge:
        cause += ", a challenge for browsers"
    elif status in (401, 403):
        raise AccessDeniedError(f"{where} does not let us in ({cause})")
    if status == 416:
        raise RangeError(f"{where} has no such part ({cause})")
    raise NoAnswerError(
        where,
        cause,
        retryable=is_challenge or status in (408, 429) or status >= 500,
        retry_after_seconds=retry_after_seconds(response.headers.get("Retry-After")),
    )
