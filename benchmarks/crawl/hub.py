"""A loopback hub in a process of its own, so that its memory and its time are not the crawler's.

python -m benchmarks.crawl.hub FOLDER
"""

import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import cast

from demo.hub.facts import Entry
from demo.hub.modelscope_facts import Hub
from demo.hub.modelscope_handler import Handler
from demo.hub.server import run, serve_hub


class FixedHub(Hub):
    """A hub on which nothing changes, so that it answers as fast about many adapters."""

    @cached_property
    def _repos(self) -> dict[str, list[Entry]]:
        return super().repos()

    @cached_property
    def _newest_first(self) -> list[tuple[str, list[Entry]]]:
        return super().newest_first(self._repos)

    def repos(self) -> dict[str, list[Entry]]:
        return self._repos

    def read(self, name: str) -> bytes:
        """Map a file: of one that is asked for in part, the rest is not read."""
        with (self.folder / name).open("rb") as file:
            return cast("bytes", mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def newest_first(self, repos: dict[str, list[Entry]]) -> list[tuple[str, list[Entry]]]:
        return self._newest_first


def serve(folder: Path, port: int = 0) -> AbstractContextManager[Hub]:
    return serve_hub(folder, port, FixedHub, Handler)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder in another process; give the hub's address."""
    command = [sys.executable, "-m", "benchmarks.crawl.hub", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()
            process.wait(30)


if __name__ == "__main__":
    sys.exit(run(serve, __doc__))
