"""A drawing that a client asks for and follows, over whatever transport."""

from collections.abc import Awaitable, Callable

from mcp.client.client import Client
from mcp_types import CallToolResult

STEPS = 3


def follow_drawing(
    adapter_id: int, told: list[tuple[float, float | None]]
) -> Callable[[Client], Awaitable[CallToolResult]]:
    """Return what has an adapter draw, and adds to `told` each step that the client hears of."""

    async def ask(client: Client) -> CallToolResult:
        async def hear(progress: float, total: float | None, message: str | None) -> None:
            told.append((progress, total))

        asked = {"prompt": "a fox", "adapters": [{"id": adapter_id}], "mode": "sum"}
        size = {"steps": STEPS, "width": 32, "height": 32}
        return await client.call_tool("fuse", asked | size, progress_callback=hear)

    return ask
