"""HTTP of the loopback hub: routes that ModelScope's own client was seen to use."""

import json
import re
import time
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from demo.hub.modelscope_facts import Hub
from demo.hub.modelscope_whims import DROPS, Whim, damaged

NOT_FOUND = 10010205001
_DETAIL = re.compile(r"/api/v1/models/([^/]+/[^/]+)")
_FILES = re.compile(r"/api/v1/models/([^/]+/[^/]+)/repo/files")
_FILE = re.compile(r"/api/v1/models/([^/]+/[^/]+)/repo")
_REVISIONS = re.compile(r"/api/v1/models/([^/]+/[^/]+)/revisions")
_COVER = re.compile(r"/covers/([^/]+/[^/]+)/(\d+)/(\d+)")
# The answers that may be wrong by a whim, beside the listing.
_ANSWERS = {"detail": _DETAIL, "files": _FILES, "file": _FILE, "cover": _COVER}
_MAX_PAGE_SIZE = 100


class Handler(BaseHTTPRequestHandler):
    """One request. `self.server.hub` holds the facts."""

    protocol_version = "HTTP/1.1"
    # Headers and body go out in two writes; with Nagle's algorithm that costs 40 ms.
    wbufsize = 64 * 1024
    timeout = 30
    # What is to be wrong with the answer at hand.
    _whim: Whim | None = None

    @property
    def hub(self) -> Hub:
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        return hub

    def log_message(self, *args: Any) -> None:
        """Say nothing: `Hub.requests` remembers."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), parse_qs(parts.query)
        kinds = (kind for kind, pattern in _ANSWERS.items() if pattern.fullmatch(path))
        self._start(next(kinds, "other"))
        if self.hub.faults.down:
            self._fail(503, 503, "the hub is down")
        elif self._whim == "error":
            self._fail_by_whim()
        elif match := _DETAIL.fullmatch(path):
            self._detail(match[1])
        elif match := _FILES.fullmatch(path):
            files = self.hub.files(match[1])
            self.hub.whims.spoil(self._whim, files or [])
            self._data(None if files is None else {"Files": files})
        elif match := _REVISIONS.fullmatch(path):
            branches = [{"Revision": "master", "CreatedAt": 1735689600}]
            known = match[1] in self.hub.repos()
            self._data({"RevisionMap": {"Branches": branches, "Tags": []}} if known else None)
        elif match := _FILE.fullmatch(path):
            self._file(self.hub.file_at(match[1], query.get("FilePath", [""])[0]))
        elif path == "/api/v1/repos/internalAccelerationInfo":
            self._data({"InternalRegionQueryAddress": self.hub.faults.region_address})
        elif match := _COVER.fullmatch(path):
            self._cover(self.hub.cover_at(match[1], int(match[2]), int(match[3])))
        else:
            self._fail(404, NOT_FOUND, "no such route")

    def do_PUT(self) -> None:
        self._start("listing")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.hub.faults.down:
            self._fail(503, 503, "the hub is down")
        elif self._whim == "error":
            self._fail_by_whim()
        elif urlsplit(self.path).path == "/api/v1/dolphin/models":
            self._list(json.loads(body))
        else:
            self._fail(404, NOT_FOUND, "no such route")

    def _start(self, answer: str) -> None:
        self._whim = self.hub.whims.draw(answer)
        self.hub.requests.append((self.command, self.path, self.headers.get("Range")))
        self.hub.headers.append(dict(self.headers))

    def _fail_by_whim(self) -> None:
        self.hub.whims.count("error")
        self._fail(self.hub.whims.status(), 500, "something went wrong here")

    def _list(self, question: dict[str, Any]) -> None:
        number, size = question["PageNumber"], question["PageSize"]
        types = [c["values"] for c in question["Criterion"] if c["category"] == "aigc_type"]
        if question["SortBy"] != "GmtModified" or types != [["LoRA"]] or size > _MAX_PAGE_SIZE:
            self._fail(400, 10010205002, "this hub lists LoRAs by GmtModified, at most 100 a page")
        else:
            page = self.hub.page(number, size)
            if self._whim in ("empty", "halved"):
                self.hub.whims.count(self._whim)
                page = self.hub.page(number, size, self._whim)
            self._data({"Model": page, "FiledAgg": {}})

    def _detail(self, repo: str) -> None:
        if repo in self.hub.faults.error_code:
            self._json(200, {"Code": NOT_FOUND, "Message": "record not found", "Success": False})
        elif repo in self.hub.faults.broken:
            self._fail(500, 500, "internal error")
        else:
            detail = self.hub.detail(repo)
            listed = detail["ModelInfos"].get("safetensor", {}) if detail else {}
            self.hub.whims.spoil(self._whim, listed.get("files", []))
            self._data(detail)

    def _file(self, name: str | None) -> None:
        if name is None:
            self._fail(404, NOT_FOUND, "no such file")
        elif address := self.hub.faults.redirect.get(name):
            self._send(302, b"", {"Location": address})
        else:
            self._send_range(name)

    def _send_range(self, name: str) -> None:
        data = self.hub.read(name)
        if self._whim == "damaged":
            self.hub.whims.count("damaged")
            data = damaged(data)
        headers = {
            "Content-Type": "application/octet-stream",
            "X-Linked-ETag": self.hub.sha256(name),
            "Accept-Ranges": "bytes",
        }
        status, start = 200, 0
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            start = int(match[1])
            end = min(int(match[2] or len(data) - 1), len(data) - 1)
            if start > end:
                self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
                return
            status, headers["Content-Range"] = 206, f"bytes {start}-{end}/{len(data)}"
            data = data[start : end + 1]
        cut = name in self.hub.faults.cut_once
        self.hub.faults.cut_once.discard(name)
        self._send(status, data, headers, cut=cut)

    def _cover(self, name: str | None) -> None:
        if name is None:
            self._fail(404, NOT_FOUND, "no such cover")
        else:
            # An LFS pointer too is announced as an image, as the real hub does.
            kind = "image/webp" if name.endswith(".webp") else "image/png"
            self._send(200, self.hub.read(name), {"Content-Type": kind})

    def _data(self, data: dict[str, Any] | None) -> None:
        if data is None:
            self._fail(404, NOT_FOUND, "record not found")
        else:
            self._json(200, {"Code": 200, "Success": True, "Message": "success", "Data": data})

    def _fail(self, status: int, code: int, message: str) -> None:
        self._json(status, {"Code": code, "Message": message, "RequestId": "loopback"})

    def _json(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer, ensure_ascii=False).encode()
        self._send(status, body, {"Content-Type": "application/json; charset=utf-8"})

    def _send(
        self, status: int, body: bytes, headers: dict[str, str], *, cut: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self._whim in ("cut", "drip"):
            self.hub.whims.count(self._whim)
        if self._whim == "drip":
            self._drip(body)
        elif cut or self._whim == "cut":
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
