"""Where a person shows a token to a server that wants one, and leaves again."""

import re
from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from crawler.addresses import is_loopback_host
from registry.api import cookies
from registry.api.access import LOG_IN_PATH, MOST_TOKEN_LETTERS, wants_tokens
from registry.api.deps import OpenRegistryDep, RegistryDep
from registry.api.forms import FormDep
from registry.api.limits import Limits
from registry.api.pages.render import render
from registry.db.log_ins import LASTS
from registry.service import Registry

router = APIRouter()

# A path of this server with what is asked there: no other host, and nothing that browsers repair
# into one, such as `//host`, `/\host` or a line break.
_LOCAL_PATH = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*")
# A prompt of 2000 Chinese signs is 18,000 long, each written like `%E7%8B%90`; all of it is written
# so once more in the log-in's own address, which then is nearly as long as any may be.
MOST_NEXT_LETTERS = 20_000


def local_path(address: str) -> str:
    """Return an address if it leads to a page of this server, else that of the first page."""
    if not _LOCAL_PATH.fullmatch(address) or len(address) > MOST_NEXT_LETTERS:
        return "/"
    return "/" if urlsplit(address).path in (LOG_IN_PATH, "/logout") else address


def _limited(request: Request) -> None:
    limits: Limits = request.app.state.limits
    limits.check_log_in(request)


@router.get(LOG_IN_PATH)
def log_in_page(
    request: Request, registry: OpenRegistryDep, wanted: Annotated[str, Query(alias="next")] = "/"
) -> Response:
    if not wants_tokens(registry.settings):
        return RedirectResponse(local_path(wanted), HTTPStatus.SEE_OTHER)
    return _page(request, local_path(wanted))


@router.post(LOG_IN_PATH, dependencies=[Depends(_limited)])
def log_in(request: Request, form: FormDep, registry: RegistryDep) -> Response:
    """Give a browser that shows a token a cookie of its own; the one that it had ends."""
    wanted, token = local_path(form.get("next", "")), form.get("token", "")
    if not wants_tokens(registry.settings):
        return RedirectResponse(wanted, HTTPStatus.SEE_OTHER)
    secret = registry.log_in(token) if 0 < len(token) <= MOST_TOKEN_LETTERS else None
    if secret is None:
        return _page(request, wanted, is_refused=True)
    _end_log_in(request, registry)
    answer = RedirectResponse(wanted, HTTPStatus.SEE_OTHER)
    cookies.set_log_in(request, answer, secret)
    return answer


@router.post("/logout")
def log_out(request: Request, form: FormDep, registry: RegistryDep) -> Response:
    _end_log_in(request, registry)
    answer = RedirectResponse(LOG_IN_PATH, HTTPStatus.SEE_OTHER)
    cookies.drop_log_in(request, answer)
    return answer


def _end_log_in(request: Request, registry: Registry) -> None:
    if secret := cookies.find_log_in(request):
        registry.log_out(secret)


def _page(request: Request, wanted: str, *, is_refused: bool = False) -> HTMLResponse:
    status = HTTPStatus.UNAUTHORIZED if is_refused else HTTPStatus.OK
    return render(
        request,
        "login.html",
        status=status,
        headers={"WWW-Authenticate": "Bearer"} if is_refused else None,
        active="",
        next=wanted,
        is_refused=is_refused,
        days=LASTS.days,
        is_open_to_read=not cookies.is_secure(request)
        and not is_loopback_host(request.url.hostname or ""),
    )
