"""An adapter's file written where people want it: under its own name, whole, over nothing else."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from crawler.hashed_file import hash_file
from crawler.whole_file import new_temporary, remove_left
from registry.errors import BlobMismatchError, FileInTheWayError, FolderClosedError

ENDING = ".safetensors"
# Of what is not whole yet: it has not the ending by which other programs take any file for theirs.
PREFIX = ".autolora-"
# What most file systems take; 85 Chinese letters are as long.
MOST_NAME_BYTES = 255


def own_name(announced: str, otherwise: str) -> str:
    """Return the last part of a path at a stranger's, if a file of this machine may be called so.

    What strangers say chooses no folder and hides nothing; `otherwise` names what is no plain
    adapter's file. A longer name than file systems take is cut before its ending.
    """
    name = announced.replace("\\", "/").rpartition("/")[2]
    fit = name.isprintable() and name.endswith(ENDING) and not name.startswith(".")
    stem = name.removesuffix(ENDING) if fit else otherwise
    return stem.encode()[: MOST_NAME_BYTES - len(ENDING)].decode(errors="ignore") + ENDING


def save_whole(target: Path, sha256: str, write: Callable[[IO[bytes]], None]) -> None:
    """Let `write` make a file that appears whole or not at all; one that is there already stays.

    Raises:
        FileInTheWayError: something else has that name.
        BlobMismatchError: what was written is not what was announced. It is not kept.
        FolderClosedError: its folder is not there, or not to be written to.
    """
    if target.exists():
        if not target.is_file() or hash_file(target) != sha256:
            raise FileInTheWayError(target)
        return
    with _written(target, write) as partial:
        if (got := hash_file(partial)) != sha256:
            raise BlobMismatchError(target.name, sha256, got)


def save_new(target: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Let `write` make a file that appears whole or not at all.

    Raises:
        FileInTheWayError: something has that name already.
        FolderClosedError: as above.
    """
    if target.exists():
        raise FileInTheWayError(target)
    with _written(target, write):
        pass


@contextmanager
def _written(target: Path, write: Callable[[IO[bytes]], None]) -> Iterator[Path]:
    """Give what was written, to be looked at; then it gets its name."""
    remove_left(target.parent, PREFIX)
    with ExitStack() as stack:
        try:
            # In the same folder, for only there a file can be renamed.
            begun = new_temporary(target.parent, PREFIX, mode=0o666)
            _, partial = stack.enter_context(begun)
        except OSError as error:
            raise FolderClosedError(target.parent, error.strerror or str(error)) from error
        with partial.open("wb") as file:
            write(file)
        yield partial
        partial.replace(target)
