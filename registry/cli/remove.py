"""The command that takes an adapter out of search."""

from typing import Annotated

import typer

from registry.cli.context import open_registry
from registry.cli.options import AdapterId
from registry.cli.output import stderr

app = typer.Typer()


@app.command()
def remove(
    context: typer.Context,
    adapter_id: AdapterId,
    back: Annotated[
        bool, typer.Option("--back", help="Take it back: the next refresh publishes it again.")
    ] = False,
) -> None:
    """Take an adapter out of search for good; no refresh brings it back. Its file stays."""
    registry = open_registry(context)
    if back:
        name = registry.take_back(adapter_id)
        said = f"{name} ({adapter_id}) comes back with the next refresh"
    else:
        name = registry.remove(adapter_id)
        said = f"{name} ({adapter_id}) is out of search; `--back` takes it back"
    stderr().print(said, markup=False, soft_wrap=True)
