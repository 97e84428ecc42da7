"""The tools over HTTP, called by the protocol's own client from a real server on loopback."""

import base64
import io
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import anyio
import httpx
import httpx2
import pytest
from fastapi.testclient import TestClient
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, ImageContent, TextContent
from PIL import Image

from registry.api.app import create_app
from registry.api.deps import Places
from registry.assistant.over_http import add_assistant
from registry.fusion.errors import GenerationCancelledError
from registry.fusion.recipe import recipe_in_png
from registry.service import Registry
from registry.token_scopes import TokenScope
from tests.registry.api.conftest import add_file, drawing
from tests.registry.api.routes.test_fuse import WatchedQueue, wait_for_a_place
from tests.registry.api.servers import served
from tests.registry.assistant.followed import follow_drawing
from tests.registry.cli.runner import add_fox

__all__ = ["drawing"]

Result = TypeVar("Result")
Ask = Callable[[Client], Awaitable[Result]]
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
# Under a full load the libraries for drawing take a minute to import.
SECONDS = 300
HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


class Server:
    """A running server, as an assistant's program reaches it."""

    def __init__(self, app: Any, address: tuple[str, int]) -> None:
        self.app = app
        self.url = f"http://{address[0]}:{address[1]}/mcp"

    def ask(self, ask: Ask[Result], token: str = "", mode: str = "auto") -> Result:
        async def run() -> Result:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            async with (
                httpx2.AsyncClient(headers=headers, timeout=SECONDS) as http,
                Client(streamable_http_client(self.url, http_client=http), mode=mode) as client,
            ):
                return await ask(client)

        return anyio.run(run)

    def call(self, tool: str, token: str = "", **asked: Any) -> CallToolResult:
        async def ask(client: Client) -> CallToolResult:
            return await client.call_tool(tool, asked)

        return self.ask(ask, token)

    def answer(self, tool: str, token: str = "", **asked: Any) -> dict[str, Any]:
        result = self.call(tool, token, **asked)
        assert not result.is_error, said(result)
        return dict(result.structured_content or {})

    def refusal(self, tool: str, token: str = "", **asked: Any) -> str:
        result = self.call(tool, token, **asked)
        assert result.is_error
        return said(result)


def said(result: CallToolResult) -> str:
    return "".join(block.text for block in result.content if isinstance(block, TextContent))


@contextmanager
def running(registry: Registry) -> Iterator[Server]:
    app = create_app(registry)
    add_assistant(app)
    app.state.queue = WatchedQueue()
    with served(app) as address:
        yield Server(app, address)


@pytest.fixture
def server(registry: Registry) -> Iterator[Server]:
    with running(registry) as server:
        yield server


@pytest.fixture
def guarded(registry: Registry) -> Iterator[Server]:
    """One that wants tokens, as where other machines reach it."""
    registry.settings.require_tokens = True
    with running(registry) as server:
        yield server


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_tools_are_listed_to_clients_of_both_protocols(server: Server, mode: str) -> None:
    """Those that begin by a handshake, and those whose every request stands alone."""

    async def ask(client: Client) -> list[Any]:
        return (await client.list_tools()).tools

    tools = {tool.name: tool for tool in server.ask(ask, mode=mode)}

    assert list(tools) == [
        *("search_loras", "show_lora", "similar_loras", "choose_loras", "inspect_file", "fuse")
    ]
    assert list(tools["inspect_file"].input_schema["properties"]) == ["sha256"]


def test_adapters_are_found_shown_compared_and_chosen(server: Server, registry: Registry) -> None:
    fox = add_fox(registry)
    drawable = add_file(registry, 1, "fox", "a fox")

    found = server.answer("search_loras", text="狐狸", tag=["animal"])
    shown = server.answer("show_lora", adapter_id=fox)
    similar = server.answer("similar_loras", adapter_id=fox)
    chosen = server.answer("choose_loras", prompt="a fox", k=2)

    assert [one["id"] for one in found["results"]] == [fox]
    assert shown["name"] == "[red]Fox[/red]"
    assert similar["results"] == []
    assert [one["id"] for one in chosen["adapters"]] == [drawable]
    assert "there is no adapter 999" in server.refusal("show_lora", adapter_id=999)


def test_files_are_told_by_their_hash_and_never_by_a_path(
    server: Server, registry: Registry
) -> None:
    """Somebody elsewhere learns not even whether there is a file of a name."""
    fox = add_file(registry, 1, "fox")
    sha256 = registry.adapter(fox).card.file_sha256
    path = str(registry.settings.home / "1.safetensors")

    facts = server.answer("inspect_file", sha256=sha256)

    assert facts["sha256"] == sha256
    assert "layer_names" not in facts
    assert "No adapter here has a file" in server.refusal("inspect_file", sha256="0" * 64)
    for asked, why in (
        ({"path": path}, "there is no 'path'"),
        ({"sha256": path}, "sha256: String should match"),
        ({"sha256": f"../{sha256}"}, "sha256: String should match"),
    ):
        told = server.refusal("inspect_file", **asked)
        assert why in told


def test_an_image_is_drawn_in_the_queues_turn(drawing: Registry) -> None:
    fox = add_file(drawing, 1, "fox", "a fox")
    asked: dict[str, Any] = {
        "prompt": "a fox",
        "adapters": [{"id": fox}],
        "mode": "sum",
        "steps": 1,
        "width": 32,
    }
    with running(drawing) as server:
        result = server.call("fuse", **asked)

    image = next(block for block in result.content if isinstance(block, ImageContent))
    png = base64.b64decode(image.data)
    assert Image.open(io.BytesIO(png)).size == (32, 32)
    assert [used.id for used in recipe_in_png(png, "it").adapters] == [fox]
    assert server.app.state.queue.jobs.qsize() == 1


def test_a_prompt_calls_for_no_more_than_may_be_named(server: Server) -> None:
    calls = "".join(f"<lora:l{number}:1>" for number in range(6))

    assert "prompt calls for 6 (<lora:…>). Take out 1." in server.refusal("fuse", prompt=calls)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_client_that_asks_how_far_a_drawing_is_is_told_each_step(
    drawing: Registry, mode: str
) -> None:
    fox = add_file(drawing, 1, "fox", "a fox")
    told: list[tuple[float, float | None]] = []

    with running(drawing) as server:
        result = server.ask(follow_drawing(fox, told), mode=mode)

    assert not result.is_error, said(result)
    assert any(isinstance(block, ImageContent) for block in result.content)
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [(HEADERS["Accept"], "text/event-stream"), ("application/json", "application/json")],
)
def test_who_takes_no_events_gets_one_document(server: Server, accept: str, kind: str) -> None:
    """Whatever it asks for."""
    params = {"_meta": {"progressToken": 1}}

    answer = httpx.post(
        server.url, json=LIST | {"params": params}, headers=HEADERS | {"Accept": accept}
    )

    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == kind
    assert "search_loras" in answer.text


def test_every_tool_wants_a_token_of_its_scope(guarded: Server, registry: Registry) -> None:
    add_fox(registry)
    reads = registry.create_token("reads", [TokenScope.READ])
    fuses = registry.create_token("fuses", [TokenScope.FUSE])

    found = guarded.answer("search_loras", reads, text="fox")
    refused = guarded.refusal("fuse", reads, prompt="a fox")
    no_reading = guarded.refusal("search_loras", fuses, text="fox")
    no_base = guarded.refusal("fuse", fuses, prompt="a fox")

    assert found["results"]
    assert "This needs a token of the scope fuse." in refused
    assert "This needs a token of the scope read." in no_reading
    # What it then finds is another matter.
    assert "scope" not in no_base


@pytest.mark.parametrize("token", ["", "autolora_guess"])
def test_who_has_no_token_is_told_nothing(guarded: Server, token: str) -> None:
    headers = HEADERS | ({"Authorization": f"Bearer {token}"} if token else {})

    answer = httpx.post(guarded.url, json=LIST, headers=headers, timeout=SECONDS)

    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert "search_loras" not in answer.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "evil.example"}, 400),
        ({}, 200),
    ],
)
def test_a_page_elsewhere_cannot_ask(server: Server, headers: dict[str, str], status: int) -> None:
    """Nor by a name of its own that leads here."""
    answer = httpx.post(server.url, json=LIST, headers=HEADERS | headers, timeout=SECONDS)

    assert answer.status_code == status
    assert ("search_loras" in answer.text) == (status == 200)


def test_what_is_too_long_is_refused(server: Server) -> None:
    """Also where nobody says how long it is."""
    long = b" " * 40_000

    told = httpx.post(server.url, content=long, headers=HEADERS, timeout=SECONDS)
    untold = httpx.post(server.url, content=iter([long]), headers=HEADERS, timeout=SECONDS)

    assert (told.status_code, untold.status_code) == (413, 413)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"x"', b"[" * 20_000, b'{"id": 1}', b"\xff"])
def test_what_is_no_message_is_refused(server: Server, body: bytes) -> None:
    answer = httpx.post(server.url, content=body, headers=HEADERS, timeout=SECONDS)

    assert answer.status_code == 400


def test_nothing_is_kept_between_requests(server: Server) -> None:
    """So any serving process may answer the next one, and there is no session to take over."""
    answers = [
        httpx.post(server.url, json=LIST, headers=HEADERS, timeout=SECONDS) for _ in range(2)
    ]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert "mcp-session-id" not in answers[0].headers
    assert answers[0].headers["x-request-id"] != answers[1].headers["x-request-id"]
    assert [
        httpx.request(verb, server.url, timeout=SECONDS).status_code for verb in ("GET", "DELETE")
    ] == [405, 405]
    assert (
        'route="/mcp",status="200"} 2.0'
        in httpx.get(server.url.replace("/mcp", "/metrics"), timeout=SECONDS).text
    )


def test_nobody_waits_for_changes_of_what_stays_as_it_is(server: Server) -> None:
    """An answer that never comes would hold a connection, and nobody counts those of `/mcp`."""

    async def ask(client: Client) -> None:
        with pytest.raises(MCPError, match="Method not found"):
            async with client.listen(tools_list_changed=True):
                pass

    server.ask(ask)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_call_that_is_cancelled_leaves_its_place(server: Server, mode: str) -> None:
    queue = server.app.state.queue
    started, release = threading.Event(), threading.Event()

    def block(_: object) -> None:
        started.set()
        release.wait()

    async def ask(client: Client) -> None:
        with anyio.move_on_after(0.5):
            await client.call_tool("fuse", {"prompt": "x"})

    queue.submit(block)
    started.wait()
    for _ in range(2):
        server.ask(ask, mode=mode)
    # Both have left, so that four others may wait.
    jobs = [wait_for_a_place(queue) for _ in range(4)]
    release.set()
    assert [job.future.result(timeout=60) for job in jobs] == ["drawn"] * 4


def test_an_image_at_work_stops_when_its_call_is_cancelled(drawing: Registry) -> None:
    fox = add_file(drawing, 1, "fox")
    asked: dict[str, Any] = {
        "prompt": "x",
        "adapters": [{"id": fox}],
        "mode": "average",
        "steps": 100,
    }

    with running(drawing) as server:
        jobs = server.app.state.queue.jobs

        async def ask(client: Client) -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.call_tool, "fuse", asked | {"width": 256})
                while jobs.empty():
                    await anyio.sleep(0.01)
                tasks.cancel_scope.cancel()

        server.ask(ask)
        job = jobs.get(timeout=60)

        assert isinstance(job.future.exception(timeout=60), GenerationCancelledError)


def post(client: TestClient, token: str, tool: str, **asked: Any) -> httpx2.Response:
    params = {"name": tool, "arguments": asked}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return client.post("/mcp", json=body, headers=HEADERS | {"Authorization": f"Bearer {token}"})


def test_images_and_requests_are_limited_as_elsewhere(registry: Registry) -> None:
    changes = {"host": "0.0.0.0", "images_per_minute": 1, "requests_per_minute": 16}
    registry.settings = registry.settings.model_copy(update=changes)
    token = registry.create_token("ann", [TokenScope.FUSE])
    app = create_app(registry)
    add_assistant(app)
    with TestClient(app, base_url="http://192.0.2.7") as client:
        answers = [post(client, token, "fuse", prompt="a fox") for _ in range(5)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 429]
    assert "Too many images from here" not in answers[0].text
    assert "Too many images from here" in answers[1].text


def test_where_everybody_may_read_nobody_draws(registry: Registry) -> None:
    add_fox(registry)
    registry.settings = registry.settings.model_copy(update={"public_read": True})
    with running(registry) as server:
        assert server.answer("search_loras", text="fox")["results"]
        assert "needs a token of the scope fuse" in server.refusal("fuse", prompt="a fox")


def test_a_busy_database_is_told_as_elsewhere(server: Server) -> None:
    server.app.state.places = Places(most=0, wait_seconds=0)

    assert "the database does not keep up" in server.refusal("search_loras", text="fox")


def test_errors_tell_nothing_of_the_machine(registry: Registry, tmp_path: Path) -> None:
    """Where a base model lies is for who runs the server, and goes to the log."""
    fox = add_file(registry, 1, "fox")
    registry.settings.base_models["demo-flux-tiny"] = tmp_path / "absent"
    asked: dict[str, Any] = {"prompt": "x", "adapters": [{"id": fox}], "mode": "sum"}

    with running(registry) as server:
        told = server.refusal("fuse", **asked)

    assert "The base model cannot be loaded" in told
    assert str(tmp_path) not in told


def test_the_library_is_loaded_by_the_first_request() -> None:
    """A server that no assistant asks neither starts later for it nor is larger."""
    code = "import sys, registry.cli.server; print([n for n in sys.modules if n[:3] == 'mcp'])"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout

    assert loaded.strip() == b"[]"
