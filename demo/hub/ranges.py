"""A server on loopback of one file, by ranges, that can lie about it in every way."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class FileServer:
    """Serves `path` at `url` and redirects to it from `url`/moved."""

    path: Path
    url: str = ""
    ranges: bool = True
    status: int | None = None
    # Sent instead of what is right; None leaves a header out.
    headers: dict[str, str | None] = field(default_factory=dict)
    redirect: str = ""
    # Sent instead of the bytes asked for.
    body: bytes | None = None
    pause_seconds: float = 0.0  # after each byte
    # Taken from the size that is told, request after request.
    shrinks_by: int = 0
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    # The headers that came with each of them.
    sent_headers: list[dict[str, str]] = field(default_factory=list)
    sent_bytes: int = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 64 * 1024
    timeout = 30

    def log_message(self, *args: Any) -> None:
        """Say nothing: `requests` remembers."""

    def do_GET(self) -> None:
        facts: FileServer = self.server.facts  # type: ignore[attr-defined]
        asked = self.headers.get("Range")
        facts.sent_headers.append(dict(self.headers))
        facts.requests.append((self.path, asked))
        if self.path == "/moved":
            self._answer(302, {"Location": facts.redirect or facts.url, "Content-Length": "0"})
            return
        size = facts.path.stat().st_size - facts.shrinks_by * (len(facts.requests) - 1)
        start, stop, status = 0, size, 200
        headers: dict[str, str | None] = {}
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked or "")
        if match and facts.ranges:
            start, stop, status = int(match[1]), min(int(match[2] or size) + 1, size), 206
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        length = stop - start if facts.body is None else len(facts.body)
        headers |= {"Content-Length": str(length), **facts.headers}
        if headers["Content-Length"] is None:
            headers["Connection"] = "close"
        self._answer(facts.status or status, headers)
        self._send(facts, start, stop)

    def _answer(self, status: int, headers: dict[str, str | None]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()

    def _send(self, facts: FileServer, start: int, stop: int) -> None:
        if facts.body is not None:
            self._write(facts, facts.body)
            return
        with facts.path.open("rb") as file:
            file.seek(start)
            left = stop - start
            while left:
                chunk = file.read(min(left, 1 if facts.pause_seconds else 64 * 1024))
                self._write(facts, chunk)
                left -= len(chunk)

    def _write(self, facts: FileServer, data: bytes) -> None:
        self.wfile.write(data)
        facts.sent_bytes += len(data)
        if facts.pause_seconds:
            self.wfile.flush()
            time.sleep(facts.pause_seconds)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that have seen enough hang up."""


@contextmanager
def serve_file(path: Path) -> Iterator[FileServer]:
    """Serve a file on loopback for as long as the context lasts."""
    server = _Server(("127.0.0.1", 0), _Handler)
    facts = FileServer(path, f"http://127.0.0.1:{server.server_port}")
    server.facts = facts  # type: ignore[attr-defined]
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    ).start()
    try:
        yield facts
    finally:
        server.shutdown()
        server.server_close()
