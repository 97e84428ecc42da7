"""`/mcp`: the tools over streamable HTTP [1], for assistants that run elsewhere.

Every request stands alone: there are no sessions, so that any of several serving processes may
answer the next one, and an answer is one JSON document, after events that tell of progress where a
message asks for that. The library is imported by the first
request, for most servers never get one.

- [1] https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#streamable-http
"""

import threading
from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from registry.api.access import let_in

if TYPE_CHECKING:
    from registry.assistant.exchange import AssistantServer

PATH = "/mcp"

router = APIRouter()


class LateServer:
    """The server of an app's tools, made when it is first asked."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._made: AssistantServer | None = None

    def get(self) -> "AssistantServer":
        """Return the server.

        Raises:
            HTTPException: the library is not installed here.
        """
        with self._lock:
            if self._made is None:
                try:
                    from registry.assistant.exchange import AssistantServer
                except ModuleNotFoundError as error:
                    raise HTTPException(
                        HTTPStatus.NOT_IMPLEMENTED,
                        f"{error.name} is not installed on this server; "
                        "`pip install 'autolora-registry[mcp]'`.",
                    ) from error
                self._made = AssistantServer(self._app)
            return self._made


def add_assistant(app: FastAPI) -> None:
    """Let assistants ask an app of `registry.api.app`."""
    app.state.assistant = LateServer(app)
    # Each tool has a scope of its own.
    app.include_router(router, dependencies=[Depends(let_in)], include_in_schema=False)


@router.post(PATH)
async def ask(request: Request) -> Response:
    """Answer one message of an assistant."""
    late: LateServer = request.app.state.assistant
    # First, so that what is too long is refused as it is elsewhere.
    body = await request.body()
    server = await run_in_threadpool(late.get)
    return server.answer(request, body)
