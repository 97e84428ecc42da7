"""The commands that keep a registry and bring it back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crawler.counted import counted
from registry.cli.context import open_registry, settings_of, tell_home
from registry.cli.options import Json
from registry.cli.output import print_json, stderr, stdout

if TYPE_CHECKING:
    from registry.upkeep.backup import Manifest

app = typer.Typer()

Copy = Annotated[
    bool, typer.Option("--copy", help="Copy blobs, also where a second name would do.")
]
# Named when something is wrong; the manifest has all.
MOST_NAMED = 3


@app.command()
def backup(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="The folder to make.")],
    copy: Copy = False,
    as_json: Json = False,
) -> None:
    """Keep the database, the blobs and the home's other files in one folder.

    The registry may go on working. The folder appears whole or not at all.
    """
    from registry.cli.progress import progress_bar
    from registry.upkeep.backup import make_backup

    registry = open_registry(context)
    with progress_bar("Keeping blobs") as progress:
        manifest = make_backup(registry.settings, registry.sessions, path, progress, link=not copy)
    _print(manifest, f"Kept in {path}", as_json=as_json)
    for what, blobs in (("damaged", manifest.damaged), ("missing", manifest.missing)):
        if blobs:
            named = ", ".join(f"{sha256[:12]}…" for sha256 in blobs[:MOST_NAMED])
            number = counted(len(blobs), "blob is", "blobs are")
            line = f"{number} {what} and not in the backup: {named}"
            stderr().print(line, markup=False, soft_wrap=True)
    raise typer.Exit(1 if manifest.damaged or manifest.missing else 0)


@app.command()
def restore(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="The folder that `autolora backup` made.")],
    copy: Copy = False,
    as_json: Json = False,
) -> None:
    """Make a backup into a registry again, in an empty home with an empty database.

    When it is stopped, the same command goes on from there.
    """
    from registry.cli.progress import progress_bar
    from registry.upkeep.restore import restore_backup

    settings = settings_of(context)
    tell_home(settings)
    with progress_bar("Restoring blobs") as progress:
        manifest = restore_backup(settings, path, progress, link=not copy)
    _print(manifest, f"Restored to {settings.home}", as_json=as_json)


def _print(manifest: "Manifest", done: str, *, as_json: bool) -> None:
    if as_json:
        print_json(manifest.model_dump(mode="json"))
        return
    rows = ", ".join(counted(manifest.rows[f"{one}s"], one) for one in ("adapter", "file", "cover"))
    blobs = f"{counted(manifest.blobs, 'blob')} ({manifest.blob_bytes / 1e6:.1f} MB)"
    if manifest.blobs_url is not None:
        blobs = f"no blobs, which stay at {manifest.blobs_url}"
    line = f"{done}: {rows}; {counted(sum(manifest.rows.values()), 'row')} in all; {blobs}; "
    line += f"{counted(len(manifest.files), 'other file')}; schema {manifest.revision}"
    stdout().print(line, markup=False, soft_wrap=True)
