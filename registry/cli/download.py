"""The command that hands out an adapter's file under its own name."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from registry.cli.context import open_registry
from registry.cli.errors import UsageError
from registry.cli.options import AdapterId
from registry.cli.output import stderr
from registry.saving import own_name, save_whole

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
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder} to write to.")
    registry = open_registry(context)
    detail = registry.adapter(adapter_id)
    sha256 = detail.handed_out_sha256()
    target = folder / own_name(detail.card.file_name, sha256)
    with registry.file(sha256).open("rb") as source:
        save_whole(target, sha256, lambda file: shutil.copyfileobj(source, file))
    stderr().print(f"wrote {target}", markup=False, soft_wrap=True)
