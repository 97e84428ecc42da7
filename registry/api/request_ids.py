"""A name for every request, in its answer, its errors and its lines of the log."""

import logging
import re
import time
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.logs import REQUESTS

HEADER = "X-Request-ID"
# In the scope of a request, for what is answered outside of its context.
KEY = "autolora.request_id"
# As proxies make them; what is else sent by this name is not repeated.
_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{8,64}", re.ASCII)

logger = logging.getLogger(REQUESTS)


class RequestIds:
    """ASGI middleware that takes a request's id, or makes one, and logs the request."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if _WELL_FORMED.fullmatch(given) else uuid4().hex
        scope[KEY] = request_id
        # A request has a task of its own, and with it the context: what the server logs of a bug
        # after we have returned bears the id, too.
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        started, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        finally:
            if logger.isEnabledFor(logging.INFO):
                facts = {
                    "method": scope["method"],
                    "path": scope["path"],
                    "status": status,
                    "milliseconds": round((time.perf_counter() - started) * 1000, 1),
                }
                logger.info("request", extra=facts)
