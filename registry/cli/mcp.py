"""The command by which an assistant asks the registry: tools over the Model Context Protocol."""

import typer

from registry.cli.context import drawer_finder, reader_finder
from registry.cli.errors import UsageError

app = typer.Typer()


@app.command()
def mcp(context: typer.Context) -> None:
    """Serve tools to an assistant over stdin and stdout (docs/mcp.md); it starts this itself."""
    try:
        from registry.cli.mcp_here import make_server_here
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{error.name} is not installed here; `pip install 'autolora-registry[mcp]'`."
        ) from error
    make_server_here(reader_finder(context), drawer_finder(context)).run("stdio")
