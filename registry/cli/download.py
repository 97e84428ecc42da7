"""The command that hands out an adapter's file under its own name."""

import hashlib
import shutil
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from registry.cli.context import open_registry
from registry.cli.errors import UsageError
from registry.cli.options import AdapterId
from registry.cli.output import stderr
from registry.errors import BlobMismatchError

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
    target = folder / _own_name(detail.card.file_name, sha256)
    _write(registry.file(sha256), target, sha256)
    stderr().print(f"wrote {target}", markup=False, soft_wrap=True)


def _own_name(file_name: str, sha256: str) -> str:
    """Return the last part of a path at a hub, if a file of this machine can be called so."""
    name = PurePosixPath(file_name.replace("\\", "/")).name
    return name if name.isprintable() and name not in ("", "..") else f"{sha256}.safetensors"


def _write(source: Path, target: Path, sha256: str) -> None:
    """Copy a file, whole or not at all, and over nothing else.

    Raises:
        UsageError: another file is there.
        BlobMismatchError: the copy is not what the registry says that it has.
    """
    if target.exists():
        if target.is_file() and _hash_file(target) == sha256:
            return
        raise UsageError(f"{target} is there already, and is another file; choose a folder by -o.")
    with TemporaryDirectory(dir=target.parent, prefix=".autolora-") as beside:
        copy = Path(beside) / "copy"
        shutil.copyfile(source, copy)
        got = _hash_file(copy)
        if got != sha256:
            raise BlobMismatchError(target.name, sha256, got)
        copy.rename(target)


def _hash_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
