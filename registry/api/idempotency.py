"""Requests that are sent twice and done once: Idempotency-Key, by the IETF's draft [1].

Who sends a key with a request, and has no answer, sends both again: what was answered is answered
again, and nothing is done twice. What was refused did nothing, and is done when it is sent again.

- [1] https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from anyio import CancelScope
from fastapi import Depends, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute

from crawler.errors import AutoLoraError
from registry.api.deps import Places
from registry.api.errors import log_hidden
from registry.db import request_keys
from registry.db.request_keys import ClaimedKey, KeptAnswer
from registry.service import Registry

# Longer answers are not kept; an image of the largest size is shorter.
MOST_ANSWER_BYTES = 32_000_000
# Much less than after what a request counts as lost (registry.db.request_keys).
RENEW_SECONDS = 20.0
KEPT_HEADERS = ("content-type", "location")

RequestKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        examples=["5f1c9a52-7d0e-4f3a-9f51-2f0f6f7f8a10"],
        description="Names this request for a day: sent again with it, nothing is done again, and "
        "what was answered comes again.",
    ),
]


class AnsweredError(Exception):
    """A request was answered before."""

    def __init__(self, answer: KeptAnswer) -> None:
        super().__init__()
        self.answer = answer


async def take_key(request: Request, key: RequestKey = None) -> None:
    """Take the key that a request names, after it was let in; or raise what it was answered."""
    if key is None:
        return
    # Who has another token has other keys.
    token = getattr(request.state, "token_key", "")
    taken = ClaimedKey(_sha256(token.encode(), key.encode()), secrets.token_hex(16))
    same = _sha256(
        request.method.encode(),
        f"{request.url.path}?{request.url.query}".encode(),
        request.headers.get("accept", "").encode(),
        await request.body(),
    )
    places: Places = request.app.state.places
    async with places.taken():
        known = await _ask(request, request_keys.claim, taken, same)
    if known is not None:
        raise AnsweredError(known)
    request.state.taken_key = taken


def _sha256(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


# To be asked for after what is sent, which is read in its turn.
TAKES_KEY = Depends(take_key)
KeyDep = Annotated[None, TAKES_KEY]


class KeyedRoute(APIRoute):
    """A route that keeps what it answers to requests with a key; it asks for KeyDep."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def answer_once(request: Request) -> Response:
            try:
                with _renewed(request):
                    response = await answer(request)
            except AnsweredError as error:
                kept = error.answer
                return Response(kept.body, kept.status, kept.headers)
            except BaseException:
                # Any: who left, too, is not answered.
                await _give_back(request)
                raise
            return await _keep(request, response)

        return answer_once


async def _keep(request: Request, response: Response) -> Response:
    """Keep an answer; one that comes in parts when it has come."""
    if _key_of(request) is None:
        return response
    if isinstance(response, StreamingResponse):
        response.body_iterator = _passed_on(request, response, response.body_iterator)
    else:
        await _keep_body(request, response, bytes(response.body))
    return response


async def _passed_on(
    request: Request,
    response: Response,
    parts: AsyncIterable[str | bytes | memoryview],
) -> AsyncIterator[str | bytes | memoryview]:
    body: bytearray | None = bytearray()
    is_whole = False
    try:
        with _renewed(request):
            async for part in parts:
                if body is not None:
                    body += part.encode() if isinstance(part, str) else part
                    body = body if len(body) <= MOST_ANSWER_BYTES else None
                yield part
        is_whole = True
    finally:
        # Lines of progress may end in an error, which did nothing.
        last = (body or b"").rstrip().rpartition(b"\n")[2]
        if is_whole and body is not None and not last.startswith(b'{"event": "error"'):
            await _keep_body(request, response, bytes(body))
        else:
            await _give_back(request)


async def _keep_body(request: Request, response: Response, body: bytes) -> None:
    if len(body) > MOST_ANSWER_BYTES:
        await _give_back(request)
        return
    headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
    answer = KeptAnswer(response.status_code, headers, body)
    await _ask(request, request_keys.keep, _key_of(request), answer)


async def _give_back(request: Request) -> None:
    key = _key_of(request)
    if key is not None:
        await _ask(request, request_keys.give_back, key)


@contextmanager
def _renewed(request: Request) -> Iterator[None]:
    """Say now and then, while the block runs, that the request is being answered."""
    renewing = asyncio.create_task(_renew(request))
    try:
        yield
    finally:
        renewing.cancel()


async def _renew(request: Request) -> None:
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        key = _key_of(request)
        if key is not None:
            try:
                await _ask(request, request_keys.renew, key)
            except AutoLoraError as error:
                log_hidden("idempotency", error)


def _key_of(request: Request) -> ClaimedKey | None:
    key: ClaimedKey | None = getattr(request.state, "taken_key", None)
    return key


async def _ask(request: Request, ask: Callable[..., Any], *words: Any) -> Any:
    """Ask the database something short; a route that has ended may still have its place."""
    registry: Registry = request.app.state.registry

    def in_transaction() -> Any:
        with registry.transaction() as session:
            return ask(session, *words)

    # Who leaves at this moment must not leave a key behind that seems to be in use.
    with CancelScope(shield=True):
        return await run_in_threadpool(in_transaction)
