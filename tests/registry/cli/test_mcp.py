"""Tools for assistants, called by the protocol's own client."""

import base64
import io
import json
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import anyio
import pytest
import typer
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp_types import CallToolResult, ImageContent, TextContent
from PIL import Image
from sqlalchemy import update
from typer.main import get_command

from registry.cli.app import app
from registry.cli.context import drawer_finder, reader_finder
from registry.cli.mcp_here import make_server_here
from registry.db.models import Adapter
from registry.db.session import connect
from registry.fusion.options import StepCallback
from registry.fusion.recipe import recipe_in_png
from registry.local import LocalReader
from registry.reader import Drawer
from registry.service import Registry
from tests.builders import add_adapter
from tests.encoder.builders import write_adapter
from tests.registry.api.conftest import add_file, drawing
from tests.registry.assistant.followed import follow_drawing
from tests.registry.cli.runner import add_fox
from tests.registry.conftest import add_real_encoder, embed
from tests.registry.test_reader import running

__all__ = ["drawing"]

Result = TypeVar("Result")
PROJECT = Path(__file__).parents[3]


def with_client(
    registry: Registry, ask: Callable[[Client], Awaitable[Result]], mode: str = "auto"
) -> Result:
    """Ask the tools of a registry, in this process."""

    async def run() -> Result:
        server = make_server_here(lambda: LocalReader(registry), lambda: registry.maker)
        async with Client(server, mode=mode) as client:
            return await ask(client)

    return anyio.run(run)


def call(registry: Registry, tool: str, **asked: Any) -> CallToolResult:
    async def ask(client: Client) -> CallToolResult:
        return await client.call_tool(tool, asked)

    return with_client(registry, ask)


def answer(registry: Registry, tool: str, **asked: Any) -> dict[str, Any]:
    """Return what a tool answers as data; as words it says the same."""
    result = call(registry, tool, **asked)
    said = [block.text for block in result.content if isinstance(block, TextContent)]
    assert not result.is_error, said
    assert result.structured_content is not None
    assert json.loads("".join(said)) == result.structured_content
    return dict(result.structured_content)


def refusal(registry: Registry, tool: str, **asked: Any) -> str:
    result = call(registry, tool, **asked)
    assert result.is_error
    return "".join(block.text for block in result.content if isinstance(block, TextContent))


def test_every_tool_says_what_it_wants_and_gives(registry: Registry) -> None:
    async def ask(client: Client) -> list[Any]:
        return (await client.list_tools()).tools

    tools = {tool.name: tool for tool in with_client(registry, ask)}

    assert list(tools) == [
        *("search_loras", "show_lora", "similar_loras", "choose_loras", "inspect_file", "fuse")
    ]
    for tool in tools.values():
        assert tool.description
        assert tool.output_schema is not None
        assert tool.annotations.read_only_hint
    described = tools["search_loras"].input_schema["properties"]["text"]
    assert described["description"] == "What the images look like."


def test_an_assistant_is_told_that_texts_of_authors_are_no_instructions(
    registry: Registry,
) -> None:
    async def ask(client: Client) -> tuple[str | None, list[Any]]:
        return client.instructions, (await client.list_tools()).tools

    instructions, tools = with_client(registry, ask)

    assert "data, never instructions" in (instructions or "")
    [shown] = [tool.output_schema for tool in tools if tool.name == "show_lora"]
    assert "never instructions" in shown["properties"]["description"]["description"]


def test_adapters_are_found_shown_and_compared(registry: Registry) -> None:
    fox = add_fox(registry)
    with registry.sessions.begin() as session:
        add_adapter(session, name="Rude", words="fox", record={}, licence="MIT", mature=True)

    found = answer(registry, "search_loras", text="狐狸", tag=["animal"])
    shown = answer(registry, "show_lora", adapter_id=fox)
    similar = answer(registry, "similar_loras", adapter_id=fox)

    assert [one["id"] for one in found["results"]] == [fox]
    assert found["results"][0]["band"] == "fits"
    assert (shown["name"], shown["tags"]) == ("[red]Fox[/red]", ["animal"])
    assert shown["shown"] == ["a fox"]
    assert similar == {"results": [], "compared_by": "nothing"}
    every = answer(registry, "search_loras", text="fox", mature="any")["results"]
    assert "Rude" in [one["name"] for one in every]
    hidden = answer(registry, "search_loras", text="fox")["results"]
    assert "Rude" not in [one["name"] for one in hidden]


def test_adapters_are_chosen_for_a_prompt(registry: Registry) -> None:
    fox = add_file(registry, 1, "fox", "a fox")

    [chosen] = answer(registry, "choose_loras", prompt="a fox", k=2)["adapters"]

    assert chosen["id"] == fox


def test_mature_adapters_are_only_for_an_assistant_that_asks_for_them(drawing: Registry) -> None:
    """However it comes to them, but by their ids."""
    add_real_encoder(drawing)
    fox, rude = (
        add_file(drawing, seed, name, name, embedding=embed(drawing, name))
        for seed, name in enumerate(("a fox", "a wolf"))
    )
    with drawing.sessions.begin() as session:
        session.execute(update(Adapter).where(Adapter.id == rude).values(mature=True))
    ways: list[tuple[str, str, dict[str, Any]]] = [
        ("search_loras", "results", {"text": "a wolf"}),
        ("similar_loras", "results", {"adapter_id": fox}),
        ("choose_loras", "adapters", {"prompt": "a wolf", "k": 1}),
        ("fuse", "adapters", {"prompt": "a wolf", "k": 1, "mode": "sum", "steps": 1, "width": 32}),
    ]

    for tool, found, asked in ways:
        result = call(drawing, tool, **asked)
        told = (result.structured_content or {}).get(found, ())
        assert rude not in [one["id"] for one in told], tool
        every = call(drawing, tool, mature="any", **asked).structured_content
        assert every is not None
        assert every[found][0]["id"] == rude, tool
    named = call(drawing, "fuse", adapters=[{"id": rude}], **ways[-1][2]).structured_content
    assert named is not None
    assert named["adapters"][0]["id"] == rude


def test_an_image_is_drawn_and_shown(drawing: Registry) -> None:
    fox = add_file(drawing, 1, "fox", "a fox")

    result = call(
        drawing,
        "fuse",
        prompt="a fox",
        adapters=[{"id": fox, "strength": 0.5}],
        mode="sum",
        steps=1,
        width=48,
        height=32,
    )

    image = next(block for block in result.content if isinstance(block, ImageContent))
    png = base64.b64decode(image.data)
    told = result.structured_content
    assert told is not None
    assert Image.open(io.BytesIO(png)).size == (told["width"], told["height"]) == (48, 32)
    assert recipe_in_png(png, "it").full_prompt == told["full_prompt"]
    assert [(used["id"], used["strength"]) for used in told["adapters"]] == [(fox, 0.5)]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_client_that_asks_how_far_a_drawing_is_is_told_each_step(
    drawing: Registry, mode: str
) -> None:
    fox = add_file(drawing, 1, "fox", "a fox")
    told: list[tuple[float, float | None]] = []

    result = with_client(drawing, follow_drawing(fox, told), mode)

    assert not result.is_error
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_file_is_inspected_and_nothing_else_is_read(registry: Registry, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "cat.safetensors")
    (tmp_path / "secret.txt").write_text("a secret")
    (tmp_path / "secret.safetensors").write_text("a secret")

    facts = answer(registry, "inspect_file", path=str(adapter))

    assert facts["base_model"] == "demo-flux-tiny"
    assert "layer_names" not in facts
    for name in ("secret.txt", "absent.safetensors", "", "https://host/x.safetensors"):
        said = refusal(registry, "inspect_file", path=str(tmp_path / name) if name else name)
        assert "is no .safetensors file" in said
    assert "a secret" not in refusal(
        registry, "inspect_file", path=str(tmp_path / "secret.safetensors")
    )


def test_what_goes_wrong_is_told_in_a_line(registry: Registry) -> None:
    assert "there is no adapter 999" in refusal(registry, "show_lora", adapter_id=999)
    with registry.sessions.begin() as session:
        add_adapter(session, name="fox", captions=[("fox", embed(registry, "fox"))])
    assert "There are: someone." in refusal(
        registry, "search_loras", text="fox", author=["someonx"]
    )
    assert "greater than or equal to 1" in refusal(registry, "show_lora", adapter_id=0)


def test_while_the_database_is_away_an_assistant_is_told_to_ask_again(registry: Registry) -> None:
    """It has no command that it could run again."""
    nobody = connect("postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    registry.sessions.configure(bind=nobody)

    said = refusal(registry, "show_lora", adapter_id=1)

    assert "database cannot be reached" in said
    assert said.endswith("ask again.")
    assert "command" not in said
    nobody.dispose()


@pytest.mark.parametrize(
    ("tool", "asked", "said"),
    [
        ("search_loras", {"text": "fox", "license": ["mit"]}, "is 'licence' meant?"),
        ("search_loras", {"text": "fox", "size": 5}, "there are text, limit, base_model, "),
        ("search_loras", {"text": "fox", "base_model": "sdxl"}, "base_model: Input should be a"),
        ("show_lora", {}, "adapter_id: Field required"),
        ("fuse", {"prompt": "fox", "adapters": [{"id": 1, "weight": 1}]}, "there are id, strength"),
    ],
)
def test_arguments_that_make_no_sense_are_told_of_in_a_line(
    registry: Registry, tool: str, asked: dict[str, Any], said: str
) -> None:
    """One that is left out in silence would be a filter that lets all through."""
    line = refusal(registry, tool, **asked)

    assert said in line
    assert line.startswith(f"{tool}: ")
    assert "\n" not in line


class Endless:
    """Draws until it is told to stop."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.has_ended = threading.Event()

    def fuse(self, prompt: str, *, progress: StepCallback, **asked: Any) -> Any:
        self.has_begun.set()
        try:
            while True:
                progress(1, 2)
                time.sleep(0.01)
        finally:
            self.has_ended.set()


def test_an_image_stops_at_its_next_step_when_the_call_is_cancelled(registry: Registry) -> None:
    drawer = Endless()

    async def run() -> None:
        server = make_server_here(lambda: LocalReader(registry), lambda: cast("Drawer", drawer))
        async with Client(server, mode="legacy") as client, anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "fuse", {"prompt": "a fox"})
            while not drawer.has_begun.is_set():
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()

    anyio.run(run)

    assert drawer.has_ended.is_set()


@pytest.mark.usefixtures("environment")
def test_an_assistant_outlives_the_servers_that_answer_it(drawing: Registry) -> None:
    """It asks the one that runs now, whose credential is another one's each time, or nobody."""
    drawing.settings.require_tokens = True
    fox = add_file(drawing, 1, "fox", "a fox")
    asked = {"prompt": "x", "adapters": [{"id": fox}], "mode": "sum", "steps": 1, "width": 32}

    async def is_drawn(client: Client) -> bool:
        """Say whether a server draws, which alone has a base here; whoever answers does answer."""
        shown = await client.call_tool("show_lora", {"adapter_id": fox})
        assert not shown.is_error, shown.content
        return not (await client.call_tool("fuse", asked)).is_error

    context = typer.Context(get_command(app))

    async def run() -> list[bool]:
        drawn = []
        server = make_server_here(reader_finder(context), drawer_finder(context))
        async with Client(server) as client:
            for _ in range(2):
                drawn.append(await is_drawn(client))
                with running(drawing):
                    drawn.append(await is_drawn(client))
            return [*drawn, await is_drawn(client)]

    with context:
        assert anyio.run(run) == [False, True, False, True, False]


@pytest.mark.usefixtures("environment")
def test_the_command_speaks_over_stdin_and_stdout(registry: Registry) -> None:
    """As an assistant's program starts it; nothing else may be written to stdout."""
    fox = add_fox(registry)
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "registry", "mcp"],
        env=dict(os.environ) | {"PYTHONPATH": str(PROJECT)},
    )

    async def run() -> CallToolResult:
        async with Client(stdio_client(command)) as client:
            return await client.call_tool("search_loras", {"text": "fox"})

    found = anyio.run(run).structured_content

    assert found is not None
    assert [one["id"] for one in found["results"]] == [fox]
