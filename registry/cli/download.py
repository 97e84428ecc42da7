"""The command that hands out an adapter's file under its own name."""

from pathlib import Path
from typing import Annotated

import typer

from crawler.disk import is_folder
from registry.cli.context import open_reader
from registry.cli.errors import UsageError
from registry.cli.options import AdapterId
from registry.cli.output import stderr

app = typer.Typer()


@app.command()
def download(
    context: typer.Context,
    adapter_id: AdapterId,
    folder: Annotated[
        Path, typer.Option("--output", "-o", help="The folder to put it into.")
    ] = Path(),
) -> None:
    """Write an adapter's file under its own name; its sha256 is checked."""
    if not is_folder(folder):
        raise UsageError(f"there is no folder {folder} to write to.")
    target = open_reader(context).download(adapter_id, folder)
    stderr().print(f"wrote {target}", markup=False, soft_wrap=True)
