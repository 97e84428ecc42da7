"""Who may ask for what, where other machines can reach this server.

On loopback everything is open to this machine. Elsewhere each request names a token, which is
never sent by a browser of its own accord: a page of another site can do nothing with it. Who runs
the server may do all, by a credential that lies in its home for its owner's eyes.
"""

import hashlib
import secrets
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from registry.api.admission import is_loopback
from registry.api.deps import OpenRegistryDep, Places
from registry.api.limits import Limits
from registry.config import Settings
from registry.running import Identity
from registry.token_scopes import TokenScope

MOST_TOKEN_LETTERS = 100


def wants_tokens(settings: Settings) -> bool:
    """Whether a server with these settings lets nobody in without a token."""
    if settings.public_read:
        return False
    return settings.require_tokens or not is_loopback(settings.host)


def is_public(settings: Settings) -> bool:
    """Whether others than this machine may be let in, by tokens or all of them."""
    return settings.public_read or wants_tokens(settings)


def allowed_to(scope: TokenScope) -> Callable[..., Coroutine[Any, Any, None]]:
    """Return a dependency that turns away who may not do what `scope` says."""

    async def check(request: Request, registry: OpenRegistryDep) -> None:
        if not wants_tokens(registry.settings):
            return
        token = _token(request)
        identity: Identity | None = request.app.state.identity
        if identity and secrets.compare_digest(token.encode(), identity.credential.encode()):
            return
        places: Places = request.app.state.places
        await places.take()
        try:
            scopes = await run_in_threadpool(registry.token_scopes, token)
        finally:
            places.give_back()
        if scopes is None:
            raise _unauthorized("This token is not known here, or was revoked.")
        if scope not in scopes:
            raise HTTPException(HTTPStatus.FORBIDDEN, f"This needs a token of the scope {scope}.")
        # Only of one that is valid: guesses would each have a bucket of their own.
        request.state.token_key = hashlib.sha256(token.encode()).hexdigest()
        limits: Limits = request.app.state.limits
        limits.check_request(request.state.token_key)

    return check


def _token(request: Request) -> str:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not 0 < len(token) <= MOST_TOKEN_LETTERS:
        raise _unauthorized("This server wants a token, as `Authorization: Bearer …`.")
    return token


def _unauthorized(detail: str) -> HTTPException:
    return HTTPException(HTTPStatus.UNAUTHORIZED, detail, {"WWW-Authenticate": "Bearer"})
