"""How one message of an assistant is answered over HTTP, by this server's own registry."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, Any

import anyio
from fastapi import FastAPI, Request, Response
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from crawler.errors import AutoLoraError
from registry.api import drawing
from registry.api.deps import Places
from registry.api.errors import log_hidden, problem_of
from registry.api.limits import Limits
from registry.api.queue import GenerationQueue, Job
from registry.api.schemas.fuse import FuseRequest
from registry.assistant.answers import without_lists
from registry.assistant.tools import Tool, make_server
from registry.fusion.options import StepCallback
from registry.local import LocalReader
from registry.service import Registry
from registry.token_scopes import TokenScope

if TYPE_CHECKING:
    from registry.fusion.fused_image import FusedImage

# Host and Origin were checked by registry.api.admission.
CHECKED = TransportSecuritySettings(enable_dns_rebinding_protection=False)
# What asks for progress in a message, and the type that it comes as.
PROGRESS = b'"progressToken"'
EVENTS = "text/event-stream"
# What is answered now, for tools to know who asks.
ASKING: ContextVar[Request] = ContextVar("asking")


class AssistantServer:
    """The tools over an app's registry."""

    def __init__(self, app: FastAPI) -> None:
        self._registry: Registry = app.state.registry
        self._queue: GenerationQueue = app.state.queue
        reader = LocalReader(self._registry)
        self._server = make_server(lambda: reader, self._draw, self.inspect_file, _in_turn)

    def answer(self, request: Request, body: bytes) -> Response:
        return Exchange(self._server, request, body)

    async def _draw(self, asked: FuseRequest, told: StepCallback) -> "FusedImage":
        """Draw in the queue's turn; who leaves gives up the place, or the image."""

        def work(job: "Job[FusedImage]") -> "FusedImage":
            def step(done: int, total: int) -> None:
                job.check()
                told(done, total)

            return drawing.fuse(self._registry, asked, step)

        job = self._queue.submit(work)
        try:
            return await asyncio.wrap_future(job.future)
        finally:
            job.abandon()

    def inspect_file(
        self,
        sha256: Annotated[
            str,
            Field(
                pattern="^[0-9a-f]{64}$",
                description="The sha256 of an adapter's file, as `show_lora` tells it.",
            ),
        ],
    ) -> dict[str, Any]:
        """Say what an adapter's file is: base model, ranks, trainer, and whether it can be fused.

        It is a file that this registry has read. Files of other machines are for `autolora mcp`.
        """
        detail = self._registry.find_adapter_of_file(sha256)
        if detail is None or detail.verdict is None:
            raise ToolError(f"No adapter here has a file with the sha256 {sha256}.")
        return {"sha256": sha256, **without_lists(detail.verdict)}


@asynccontextmanager
async def _in_turn(tool: Tool) -> AsyncIterator[None]:
    """Let a tool be called by who may, as often as that one may, and say what goes wrong."""
    request = ASKING.get()
    limits: Limits = request.app.state.limits
    places: Places = request.app.state.places
    try:
        if tool.scope not in request.state.scopes:
            raise ToolError(f"This needs a token of the scope {tool.scope}.")
        if tool.scope is TokenScope.FUSE:
            # It waits in a queue of its own, for minutes.
            limits.check_images(request)
            yield
        else:
            async with places.taken():
                yield
    except HTTPException as error:
        raise ToolError(str(error.detail)) from error
    except AutoLoraError as error:
        log_hidden(request.url.path, error)
        raise ToolError(str(problem_of(error)["detail"])) from error


class Exchange(Response):
    """An answer that the library gives; who leaves before it is whole gives it up."""

    def __init__(self, server: MCPServer, request: Request, body: bytes) -> None:
        super().__init__()
        self._server, self._request, self._sent = server, request, body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ASKING.set(self._request)
        manager = _manager_of(self._server, in_events=self._wants_progress())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_without_reader, receive, tasks.cancel_scope)
            # Its tasks end with this answer: none has to be kept for the next one.
            async with manager.run():
                await manager.handle_request(scope, _whole(self._sent), send)
            tasks.cancel_scope.cancel()

    def _wants_progress(self) -> bool:
        """Whether this is to be told how far a call is before its answer.

        Any message with these words may be answered so, by whoever takes events.
        """
        return PROGRESS in self._sent and EVENTS in self._request.headers.get("accept", "")


def _manager_of(server: MCPServer, *, in_events: bool) -> StreamableHTTPSessionManager:
    """Return what answers one request; it is used once, and cheap.

    The answer is one JSON document, or the last of events that tell of progress before.
    """
    server.streamable_http_app(
        json_response=not in_events, stateless_http=True, transport_security=CHECKED
    )
    return server.session_manager


async def _cancel_without_reader(receive: Receive, answering: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    answering.cancel()


def _whole(body: bytes) -> Receive:
    """Give a body that came already; after it there is nothing to wait for."""
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            await anyio.sleep_forever()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
