"""Adapters in formats that can run code when they are loaded: found, to be told of, not read."""

from collections.abc import Iterator
from pathlib import Path

from crawler.sources.folder.found import SUFFIX, Tree

SUFFIXES = (".pt", ".pth", ".ckpt")
# Of these most are something else.
ANYTHING = ".bin"
# A zip archive, as PyTorch writes since 1.6, and pickles of each protocol.
STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
# What trainers keep beside an adapter to go on from.
TRAINING_STATE = ("optimizer", "scheduler", "scaler", "random_states", "rng_state", "training_args")


def find_pickles(tree: Tree) -> Iterator[Path]:
    """Yield what may be pickled adapters, but for those that lie there converted.

    What is called as one and is none, a web page or half a download, is one to its owner.
    """
    for directory in tree.directories.values():
        for entry in directory.entries.values():
            path, suffix = entry.path, entry.path.suffix.lower()
            if (
                (suffix in SUFFIXES or (suffix == ANYTHING and _begins_as_one(path)))
                and not path.name.lower().startswith(TRAINING_STATE)
                and directory.find(path.stem + SUFFIX) is None
            ):
                yield path


def _begins_as_one(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4).startswith(STARTS)
    except OSError:
        # Nothing that is read here, readable or not.
        return False
