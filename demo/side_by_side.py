"""Files that several processes make side by side, each one whole, and that are joined to one."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from crawler.whole_file import written_whole


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Tell whether `path` is to be made: it is not there, and no other process is at it.

    It is held while inside; a process that is killed lets go.
    """
    with path.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield not path.exists()


def join(parts: Path, pattern: str, target: Path, joined: Callable[[list[str]], str]) -> None:
    """Write what `joined` makes of the texts of all `parts` that are there, at once.

    One process at a time lists and writes, so whoever comes last has all.
    """
    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        texts = [path.read_text() for path in sorted(parts.glob(pattern))]
        with written_whole(target) as partial:
            partial.write_text(joined(texts))
