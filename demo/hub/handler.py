"""HTTP of loopback hubs: what all of them do, each answer with what may be wrong with it."""

import json
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar, Generic, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from demo.hub.facts import INSIDE, HubFacts
from demo.hub.whims import DROPS, Whim, damaged, with_nulls, with_unknown_fields

H = TypeVar("H", bound=HubFacts)
Query = dict[str, list[str]]


class HubHandler(BaseHTTPRequestHandler, ABC, Generic[H]):
    """One request. `self.server.hub` holds the facts; a kind of hub adds its routes."""

    protocol_version = "HTTP/1.1"
    # Headers and body go out in two writes; with Nagle's algorithm that costs 40 ms.
    wbufsize = 64 * 1024
    timeout = 30
    # The answers that may be wrong by a whim, by their paths.
    answers: ClassVar[Mapping[str, re.Pattern[str]]]
    # What is to be wrong with the answer at hand.
    whim: Whim | None = None

    @property
    def hub(self) -> H:
        hub: H = self.server.hub  # type: ignore[attr-defined]
        return hub

    def log_message(self, *args: Any) -> None:
        """Say nothing: `HubFacts.requests` remembers."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), parse_qs(parts.query)
        kinds = (kind for kind, pattern in self.answers.items() if pattern.fullmatch(path))
        if self.is_well(next(kinds, "other")):
            self.answer(path, query)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.is_well("listing"):
            self.take(urlsplit(self.path).path, body)

    @abstractmethod
    def answer(self, path: str, query: Query) -> None:
        """Answer what the hub was asked."""

    def take(self, path: str, body: bytes) -> None:
        """Answer a question that is put in the body of a request, as ModelScope's listing is."""
        self.fail(405, "this hub is asked by GET")

    def fail(self, status: int, message: str, /, **more: Any) -> None:
        """Answer with an error, as most kinds of hubs put it."""
        self.send_json(status, {"error": message, **more})

    def is_well(self, kind: str) -> bool:
        """Note a request; whether it is to be answered, after an error where it is not."""
        self.whim = self.hub.whims.draw(kind)
        self.hub.requests.append((self.command, self.path, self.headers.get("Range")))
        self.hub.headers.append(dict(self.headers))
        if self.hub.faults.down:
            self.fail(503, "the hub is down")
        elif self.whim == "error":
            self.hub.whims.count("error")
            self.fail(self.hub.whims.status(), "something went wrong here")
        elif self.whim == "error body":
            self.hub.whims.count("error body")
            self.fail(200, "something went wrong here")
        elif self.whim == "redirect":
            self.hub.whims.count("redirect")
            self.send(302, b"", {"Location": INSIDE})
        else:
            return True
        return False

    def send_file(self, name: str | None, headers: Mapping[str, str]) -> None:
        """Send a file or the part of it that was asked for."""
        if name is None:
            self.fail(404, "no such file")
            return
        if address := self.hub.faults.redirect.get(name):
            self.send(302, b"", {"Location": address})
            return
        data = self.hub.read(name)
        if self.whim == "damaged":
            self.hub.whims.count("damaged")
            data = damaged(data)
        sent = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", **headers}
        status, start = 200, 0
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            start = int(match[1])
            end = min(int(match[2] or len(data) - 1), len(data) - 1)
            if start > end:
                self.send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
                return
            status, sent["Content-Range"] = 206, f"bytes {start}-{end}/{len(data)}"
            data = data[start : end + 1]
        cut = name in self.hub.faults.cut_once
        self.hub.faults.cut_once.discard(name)
        self.send(status, data, sent, cut=cut)

    def send_cover(self, name: str | None) -> None:
        if name is None:
            self.fail(404, "no such cover")
        else:
            # An LFS pointer too is announced as an image, as ModelScope does.
            kind = "image/webp" if name.endswith(".webp") else "image/png"
            self.send(200, self.hub.read(name), {"Content-Type": kind})

    def send_json(self, status: int, answer: Any, headers: Mapping[str, str] | None = None) -> None:
        if status == 200 and self.whim in ("nulls", "unknown fields"):
            self.hub.whims.count(self.whim)
            spoil = with_nulls if self.whim == "nulls" else with_unknown_fields
            answer = spoil(answer, self.hub.keys)
        body = json.dumps(answer, ensure_ascii=False).encode()
        kind = {"Content-Type": "application/json; charset=utf-8"}
        self.send(status, body, {**kind, **(headers or {})})

    def send(
        self, status: int, body: bytes, headers: Mapping[str, str], *, cut: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.hub.faults.rate_limit:
            self.send_header("RateLimit", self.hub.faults.rate_limit)
        if status in (429, 503):
            self.send_header("Retry-After", "0.05")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.whim in ("cut", "drip"):
            self.hub.whims.count(self.whim)
        if self.command == "HEAD":
            return
        if self.whim == "drip":
            self._drip(body)
        elif cut or self.whim == "cut":
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        else:
            self.wfile.write(body)

    def _drip(self, body: bytes) -> None:
        step = len(body) // DROPS + 1
        for start in range(0, len(body), step):
            self.wfile.write(body[start : start + step])
            self.wfile.flush()
            time.sleep(self.hub.whims.drip_seconds / DROPS)
