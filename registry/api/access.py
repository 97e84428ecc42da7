"""Who may ask for what, where other machines can reach this server.

On loopback everything is open to this machine. Elsewhere each request names a token: programs in
a header, which no browser sends of its own accord; browsers by a cookie that they were given for
a token once (`registry.api.cookies`). Who runs the server may do all, by a credential that lies in
its home for its owner's eyes.
"""

import secrets
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from crawler.addresses import is_loopback_host
from registry.api import cookies
from registry.api.deps import OpenRegistryDep, Places
from registry.api.limits import Limits
from registry.config import Settings
from registry.running import Identity
from registry.service import Registry
from registry.token_scopes import TokenScope

MOST_TOKEN_LETTERS = 100
LOG_IN_PATH = "/login"
ALL_SCOPES = frozenset(TokenScope)
# They change nothing, so another site wins nothing by having a browser ask them.
SAFE_METHODS = ("GET", "HEAD")


def wants_tokens(settings: Settings) -> bool:
    """Whether a server with these settings lets nobody in without a token."""
    if settings.public_read:
        return False
    return settings.require_tokens or not is_loopback_host(settings.host)


def is_public(settings: Settings) -> bool:
    """Whether others than this machine may be let in, by tokens or all of them."""
    return settings.public_read or wants_tokens(settings)


def open_scopes(settings: Settings) -> frozenset[TokenScope]:
    """Return what who shows no token may do."""
    if settings.public_read:
        return frozenset({TokenScope.READ})
    return frozenset() if wants_tokens(settings) else ALL_SCOPES


async def let_in(request: Request, registry: OpenRegistryDep) -> None:
    """A dependency that turns away who has no token, and notes what everybody else may do."""
    if not wants_tokens(registry.settings):
        request.state.scopes = open_scopes(registry.settings)
        return
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and 0 < len(token) <= MOST_TOKEN_LETTERS:
        await _let_in_by(request, registry, token=token)
    elif log_in := cookies.find_log_in(request):
        if request.method not in SAFE_METHODS and "origin" not in request.headers:
            # Admission refuses a foreign one, and every browser names its own.
            raise HTTPException(HTTPStatus.FORBIDDEN, "A browser has to say which page asks.")
        await _let_in_by(request, registry, log_in=log_in)
    else:
        raise turned_away(request, "This server wants a token, as `Authorization: Bearer …`.")


async def _let_in_by(
    request: Request, registry: Registry, token: str = "", log_in: str = ""
) -> None:
    identity: Identity | None = request.app.state.identity
    if identity and secrets.compare_digest(token.encode(), identity.credential.encode()):
        request.state.scopes = ALL_SCOPES
        return
    places: Places = request.app.state.places
    async with places.taken():
        opened = await run_in_threadpool(registry.opened_by, token=token, log_in=log_in)
    if opened is None:
        raise turned_away(request, "This token is not known here, or was revoked.")
    request.state.scopes = frozenset(opened.scopes)
    request.state.is_logged_in = bool(log_in)
    # Only of one that is valid: guesses would each have a bucket of their own.
    request.state.token_key = opened.token_sha256
    limits: Limits = request.app.state.limits
    limits.check_request(opened.token_sha256)


def allowed_to(scope: TokenScope) -> Callable[..., Coroutine[Any, Any, None]]:
    """Return a dependency that turns away who may not do what `scope` says."""

    async def check(request: Request, _: None = Depends(let_in)) -> None:
        if scope not in request.state.scopes:
            raise HTTPException(HTTPStatus.FORBIDDEN, f"This needs a token of the scope {scope}.")

    return check


def turned_away(request: Request, detail: str) -> HTTPException:
    """Return what who is not let in is told: a person's browser is led to where one logs in."""
    path, asked = request.url.path, request.url.query
    is_page = request.method in SAFE_METHODS and not path.startswith("/v1/")
    if is_page and "text/html" in request.headers.get("accept", ""):
        wanted = urlencode({"next": f"{path}?{asked}" if asked else path})
        return HTTPException(HTTPStatus.SEE_OTHER, detail, {"Location": f"{LOG_IN_PATH}?{wanted}"})
    return HTTPException(HTTPStatus.UNAUTHORIZED, detail, {"WWW-Authenticate": "Bearer"})
