"""Files that are there whole, or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a name beside `path` to write to; what is written there becomes `path` at the end.

    Whoever reads meanwhile finds what was there before. An error, or Ctrl-C, leaves nothing of it;
    a kill leaves a name that ends in .partial, which the next one writes over. It is for what can
    be made again: nothing waits for the disk, and a power cut may take it.
    """
    partial = _partial_of(path)
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def check_writable(path: Path) -> None:
    """Begin what `written_whole` does, and leave nothing.

    Raises:
        OSError: nothing can be written there, or not under this name.
    """
    partial = _partial_of(path)
    try:
        partial.touch(exist_ok=False)
    except FileExistsError:
        # Somebody writes there at the moment, or was killed at it.
        return
    partial.unlink()


def _partial_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial")
