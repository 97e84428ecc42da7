"""A loopback hub in a process of its own, so that its memory and its time are not the crawler's.

python -m benchmarks.crawl.hub FOLDER
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path

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

    def newest_first(self, repos: dict[str, list[Entry]]) -> list[tuple[str, list[Entry]]]:
        return self._newest_first


class KernelHandler(Handler):
    """Has the kernel send files, as hubs do: serving costs little beside receiving."""

    def send_file(self, name: str | None, headers: Mapping[str, str]) -> None:
        if name is None:
            self.fail(404, "no such file")
            return
        size = self.hub.size(name)
        start, stop, status, more = 0, size, 200, {}
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            start, stop, status = int(match[1]), min(int(match[2] or size) + 1, size), 206
            more = {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}
        self.send_response(status)
        for key, value in {**headers, **more, "Content-Length": str(stop - start)}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.flush()
        with (self.hub.folder / name).open("rb") as file:
            self.connection.sendfile(file, start, stop - start)


def serve(folder: Path, port: int = 0) -> AbstractContextManager[Hub]:
    return serve_hub(folder, port, FixedHub, KernelHandler)


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
