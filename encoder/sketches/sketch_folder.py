"""Sketches in a folder beside the adapters they were made of, or instead of them."""

import hashlib
from pathlib import Path

from crawler.whole_file import written_whole
from encoder.errors import SketchError
from encoder.sketches.sketch import SKETCH_VERSION, Sketch, sketch_file

SUFFIX = ".sketch"


def sketch_path(adapter: Path, folder: Path) -> Path:
    """Return where the sketch of an adapter lies: its name, and what tells namesakes apart."""
    place = hashlib.sha256(f"{SKETCH_VERSION} {adapter.absolute()}".encode()).hexdigest()[:12]
    return folder / f"{adapter.stem}-{place}{SUFFIX}"


def kept_sketch(adapter: Path, folder: Path) -> Sketch:
    """Return the sketch in the folder, or make it of the adapter's file and put it there.

    The file need not exist where the sketch does; one that was written since is sketched again.

    Raises:
        LoraFileError: there is no sketch, and the adapter cannot be read.
        SketchError: no sketch can be made of it, or the one in the folder is damaged.
    """
    path = sketch_path(adapter, folder)
    if path.exists() and not _is_newer(adapter, path):
        try:
            return Sketch.from_bytes(path.read_bytes())
        except SketchError as error:
            raise SketchError(f"{path.name}: {error}; delete it") from error
    made = sketch_file(adapter)
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as partial:
        partial.write_bytes(made.to_bytes())
    return made


def _is_newer(adapter: Path, sketch: Path) -> bool:
    return adapter.exists() and adapter.stat().st_mtime_ns > sketch.stat().st_mtime_ns
