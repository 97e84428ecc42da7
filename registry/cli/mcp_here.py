"""The tools for an assistant on this machine, whose files are this machine's too."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from anyio.from_thread import check_cancelled
from anyio.to_thread import run_sync
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from crawler.errors import AutoLoraError
from crawler.foreign_text import one_line
from registry.api.schemas.fuse import FuseRequest
from registry.assistant.answers import without_lists
from registry.assistant.tools import Tool, make_server
from registry.cli.errors import UsageError
from registry.cli.inspect import inspect_file as read_file
from registry.errors import DatabaseLostError
from registry.fusion.options import StepCallback
from registry.reader import Drawer, Reader

if TYPE_CHECKING:
    from registry.fusion.fused_image import FusedImage


def make_server_here(
    find_reader: Callable[[], Reader], find_drawer: Callable[[], Drawer]
) -> MCPServer:
    """Return a server of all tools; it reads any adapter's file, so it is for stdio only.

    At each call who answers is found anew: an assistant stays open for days.
    """

    async def draw(asked: FuseRequest, told: StepCallback) -> "FusedImage":
        def step(done: int, total: int) -> None:
            # Between two steps a drawing is given up, when the assistant has cancelled its call.
            check_cancelled()
            told(done, total)

        def fuse() -> "FusedImage":
            return find_drawer().fuse(asked.prompt, **asked.options(step))

        return await run_sync(fuse)

    return make_server(find_reader, draw, inspect_file, _telling)


@asynccontextmanager
async def _telling(tool: Tool) -> AsyncIterator[None]:
    """Let the assistant read what our errors say; of others it learns nothing."""
    try:
        yield
    except DatabaseLostError as error:
        # An assistant has no command to run again.
        said = f"the database cannot be reached ({error.cause})"
        raise ToolError(one_line(f"{said}: see that PostgreSQL runs, then ask again.")) from error
    except AutoLoraError as error:
        raise ToolError(one_line(str(error))) from error


def inspect_file(
    path: Annotated[str, Field(description="A .safetensors file on this machine.")],
) -> dict[str, Any]:
    """Say what an adapter's file is: base model, ranks, trainer, and whether it can be fused.

    The file is read, and nothing in it is run.
    """
    file = Path(path).expanduser()
    if file.suffix.lower() != ".safetensors" or not file.is_file():
        raise UsageError(f"{path!r} is no .safetensors file on this machine.")
    return without_lists(read_file(file).to_json())
