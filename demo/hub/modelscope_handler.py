"""HTTP of ModelScope's loopback hub: routes that its own client was seen to use."""

import json
import re
from typing import Any, ClassVar

from demo.hub.handler import HubHandler, Query
from demo.hub.modelscope_facts import Hub

NOT_FOUND = 10010205001
_DETAIL = re.compile(r"/api/v1/models/([^/]+/[^/]+)")
_FILES = re.compile(r"/api/v1/models/([^/]+/[^/]+)/repo/files")
_FILE = re.compile(r"/api/v1/models/([^/]+/[^/]+)/repo")
_REVISIONS = re.compile(r"/api/v1/models/([^/]+/[^/]+)/revisions")
_COVER = re.compile(r"/covers/([^/]+/[^/]+)/(\d+)/(\d+)")
_MAX_PAGE_SIZE = 100


class Handler(HubHandler[Hub]):
    """One request to ModelScope."""

    answers: ClassVar = {"detail": _DETAIL, "files": _FILES, "file": _FILE, "cover": _COVER}

    def answer(self, path: str, query: Query) -> None:
        if match := _DETAIL.fullmatch(path):
            self._detail(match[1])
        elif match := _FILES.fullmatch(path):
            files = self.hub.files(match[1])
            self.hub.whims.spoil(self.whim, files or [])
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
            self.send_cover(self.hub.cover_at(match[1], int(match[2]), int(match[3])))
        else:
            self.fail(404, "no such route")

    def take(self, path: str, body: bytes) -> None:
        if path == "/api/v1/dolphin/models":
            self._list(json.loads(body))
        else:
            self.fail(404, "no such route")

    def _list(self, question: dict[str, Any]) -> None:
        number, size = question["PageNumber"], question["PageSize"]
        types = [c["values"] for c in question["Criterion"] if c["category"] == "aigc_type"]
        if question["SortBy"] != "GmtModified" or types != [["LoRA"]] or size > _MAX_PAGE_SIZE:
            self.fail(400, "this hub lists LoRAs by GmtModified, at most 100 a page")
            return
        spoilt = [self.whim] if self.whim else []
        self._data({"Model": self.hub.page(number, size, *spoilt), "FiledAgg": {}})

    def _detail(self, repo: str) -> None:
        if repo in self.hub.faults.error_code:
            self.fail(200, "record not found", Success=False)
        elif repo in self.hub.faults.broken:
            self.fail(500, "internal error")
        else:
            detail = self.hub.detail(repo)
            listed = detail["ModelInfos"].get("safetensor", {}) if detail else {}
            self.hub.whims.spoil(self.whim, listed.get("files", []))
            self._data(detail)

    def _file(self, name: str | None) -> None:
        self.send_file(name, {"X-Linked-ETag": self.hub.sha256(name)} if name else {})

    def _data(self, data: dict[str, Any] | None) -> None:
        if data is None:
            self.fail(404, "record not found")
        else:
            self.send_json(200, {"Code": 200, "Success": True, "Message": "success", "Data": data})

    def fail(self, status: int, message: str, /, **more: Any) -> None:
        code = status if status >= 500 else NOT_FOUND
        error = {"Code": code, "Message": message, "RequestId": "loopback", **more}
        self.send_json(status, error)
