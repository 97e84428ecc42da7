"""Who may ask: requests that should reach no route are turned away before a body is read."""

import ipaddress
import re
import socket
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crawler.addresses import is_loopback_host
from registry.api.errors import on_http
from registry.api.uploads import MOST_UPLOAD_BYTES
from registry.config import Settings

# The largest request that makes sense is a prompt of 2000 signs, each written as `\ud83e\udd8a`.
MOST_BODY_BYTES = 32 * 1024
# A question of 10,000 signs and another that results should be unlike, each sign as long.
MOST_QUESTION_BYTES = 256 * 1024
QUESTION_PATH = "/v1/search"
# Where adapters' files are sent to, and pictures.
FILE_PATH = "/v1/folders/files"
PICTURE_PATHS = (
    "/v1/search/picture",
    "/picture",
    *(f"/v1/recipes/{verb}" for verb in ("draw", "export", "files", "send")),
)
# Ours have 2000 signs and some filters at most, each sign up to twelve bytes (`%F0%9F%A6%8A`).
MOST_QUERY_BYTES = 32 * 1024
# Ours are a dozen, one of them given up to twenty times; thousands take long to refuse by name.
MOST_PARAMETERS = 100

# Longer numbers than those of any body are not even read: Python refuses thousands of digits.
MOST_DIGITS = 18

_HOST = re.compile(r"[\w.-]+(:\d+)?|\[[0-9a-fA-F:.]+\](:\d+)?", re.ASCII)


class Admission:
    """ASGI middleware that refuses foreign names, foreign pages and what is far too long.

    A page elsewhere can make its visitor's browser ask any address: by a name of its own that
    it points at this machine (so Host is checked), from its scripts and forms (so Origin is),
    and by images and frames, which send no Origin (so Sec-Fetch-Site is, where a browser sends
    it [1]). A link that somebody followed to a page of ours is let in.

    - [1] https://www.w3.org/TR/fetch-metadata/
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self._hosts = OwnHosts(settings)
        self._most_file_bytes = settings.max_file_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            self._check(scope)
        except HTTPException as error:
            await on_http(Request(scope), error)(scope, receive, send)
        else:
            await self.app(scope, _bounded(receive, self._most_bytes(scope)), send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if host not in self._hosts:
            raise HTTPException(
                HTTPStatus.BAD_REQUEST,
                "This server is not known by that name; REGISTRY_ALLOWED_HOSTS lists its names.",
            )
        origin = headers.get("origin")
        if origin is not None and _host_of(origin) != host.lower():
            raise HTTPException(HTTPStatus.FORBIDDEN, "Pages of other sites may not ask here.")
        if _is_from_elsewhere(headers) and not _is_followed_link(headers, scope):
            raise HTTPException(HTTPStatus.FORBIDDEN, "Pages of other sites may not ask here.")
        query = scope["query_string"]
        if len(query) > MOST_QUERY_BYTES or query.count(b"&") >= MOST_PARAMETERS:
            raise HTTPException(HTTPStatus.REQUEST_URI_TOO_LONG)
        length, most = headers.get("content-length", "0"), self._most_bytes(scope)
        if not length.isdecimal() or len(length) > MOST_DIGITS or int(length) > most:
            raise _too_large(most)

    def _most_bytes(self, scope: Scope) -> int:
        if scope["method"] == "POST" and scope["path"] == FILE_PATH:
            return self._most_file_bytes
        return _most_bytes(scope)


def _most_bytes(scope: Scope) -> int:
    if scope["method"] != "POST":
        return MOST_BODY_BYTES
    if scope["path"] == QUESTION_PATH:
        return MOST_QUESTION_BYTES
    return MOST_UPLOAD_BYTES if scope["path"] in PICTURE_PATHS else MOST_BODY_BYTES


def _too_large(most: int) -> HTTPException:
    size = f"{most // 2**20} MB" if most >= 2**20 else f"{most // 2**10} KB"
    return HTTPException(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"What was sent is too large: at most {size} are taken here.",
    )


def _bounded(receive: Receive, most: int) -> Receive:
    """Count a body that comes in chunks, whose length nobody declared."""
    taken = 0

    async def receive_some() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > most:
            raise _too_large(most)
        return message

    return receive_some


class OwnHosts:
    """The values of Host that mean this server."""

    def __init__(self, settings: Settings) -> None:
        self._public = settings.public_read or not is_loopback_host(settings.host)
        machine = socket.gethostname().lower()
        own = {machine, f"{machine}.local", settings.host.lower()} if self._public else set()
        self._names = own | {"localhost"} | {name.lower() for name in settings.allowed_hosts}

    def __contains__(self, host: str) -> bool:
        if not _HOST.fullmatch(host):
            return False
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        # By an address nobody is led astray: only a name can be pointed at another machine.
        return self._public or address.is_loopback


def _host_of(origin: str) -> str | None:
    """Return the host and port that an origin names; None of what is no address."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _is_from_elsewhere(headers: Headers) -> bool:
    # "same-site" is another port of this machine, or another machine of this domain.
    return headers.get("sec-fetch-site", "none") in ("cross-site", "same-site")


def _is_followed_link(headers: Headers, scope: Scope) -> bool:
    """Whether somebody clicked on a link to a page, and not a script that opens them in a loop."""
    return (
        scope["method"] in ("GET", "HEAD")
        and not scope["path"].startswith("/v1/")
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
        and headers.get("sec-fetch-user") == "?1"
    )
