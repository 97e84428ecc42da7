"""A hub on loopback that speaks CivArchive's protocol: it finds files by their sha256.

Serves a folder: `listing.json` (see `HubFacts`) and the files that it names, which it mirrors
itself. Of an entry it also knows `mirrors`, where these are others, and with `by_model` it names
the model of a file only, and tells the rest where it is asked about that.

    python -m demo.hub.civarchive FOLDER --port 8090
"""

import re
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

from demo.hub.facts import ELSEWHERE, Entry, HubFacts
from demo.hub.handler import HubHandler, Query
from demo.hub.server import run, serve_hub
from demo.hub.whims import Whim

_SHA256 = re.compile(r"/api/sha256/([0-9a-f]{64})")
_MODEL = re.compile(r"/api/models/(\d+)")
_FILE = re.compile(r"/mirror/(\d+)")


class CivArchiveHub(HubFacts):
    """A CivArchive; see `HubFacts`."""

    keys = frozenset({"sha256", "error"})

    def find_file(self, sha256: str) -> Entry | None:
        return next((e for e in self.entries if self.sha256(e["file"]) == sha256), None)

    def find_version(self, number: int) -> Entry | None:
        return next((e for e in self.entries if e["version_id"] == number), None)

    def told(self, entry: Entry, whim: Whim | None, *, all_of_it: bool) -> dict[str, Any]:
        """Return an answer about a file, or about its model."""
        if entry.get("by_model") and not all_of_it:
            known = {"model_id": entry["model_id"], "model_version_id": entry["version_id"]}
            return {"data": {"files": [{**known, "source": "civitai"}]}}
        return {
            "data": {
                "id": entry["model_id"],
                "name": entry["display_name"],
                "type": "LORA",
                "description": entry["description"],
                "is_nsfw": False,
                "nsfw_level": 1,
                "tags": entry["tags"],
                "creator_username": entry["owner"],
                "creator_name": entry["owner"],
                "creator_url": f"/users/{entry['owner']}",
                "version": self._version(entry, whim),
                "versions": [{"id": entry["version_id"], "name": "v1.0"}],
            }
        }

    def _version(self, entry: Entry, whim: Whim | None) -> dict[str, Any]:
        number = entry["version_id"]
        return {
            "id": number,
            "modelId": entry["model_id"],
            "name": "v1.0",
            "baseModel": entry["base_model"],
            "description": entry["description"],
            "downloadCount": entry["downloads"],
            "ratingCount": 0,
            "rating": 0,
            "nsfw_level": 1,
            "trigger": entry["trigger_words"],
            "files": [self._file(entry, whim)],
            "images": [{"id": number, "url": f"{ELSEWHERE}/{number}.png", "nsfwLevel": 1}],
        }

    def _file(self, entry: Entry, whim: Whim | None) -> dict[str, Any]:
        name, number = self.listed_path(entry["file"]), entry["version_id"]
        mirrors = entry.get("mirrors", [f"{self.endpoint}/mirror/{number}"])
        if whim == "other host":
            self.whims.count(whim)
            mirrors = [f"{ELSEWHERE}/{number}"]
        told = {"sha256": self.sha256(entry["file"])}
        self.whims.spoil(whim, [told])
        lost = f"https://civitai.com/api/download/models/{number}"
        gone = {"filename": name, "url": lost, "deletedAt": "2026-05-01T00:00:00.000Z"}
        here = [{"filename": name, "url": url, "deletedAt": None} for url in mirrors]
        return {
            "id": number + 10**6,
            "name": name,
            "type": "Model",
            "sizeKB": self.size(entry["file"]) / 1024,
            "downloadUrl": lost,
            **told,
            "is_primary": False,
            "mirrors": [gone, *here],
        }


class Handler(HubHandler[CivArchiveHub]):
    """One request to CivArchive."""

    answers: ClassVar = {"files": _SHA256, "detail": _MODEL, "file": _FILE}

    def answer(self, path: str, query: Query) -> None:
        if match := _SHA256.fullmatch(path):
            self._tell(self.hub.find_file(match[1]), all_of_it=False)
        elif _MODEL.fullmatch(path):
            number = int(query.get("modelVersionId", ["0"])[0])
            self._tell(self.hub.find_version(number), all_of_it=True)
        elif match := _FILE.fullmatch(path):
            entry = self.hub.find_version(int(match[1]))
            self.send_file(entry["file"] if entry else None, {})
        else:
            self.fail(404, "Not found")

    def _tell(self, entry: Entry | None, *, all_of_it: bool) -> None:
        if entry is None:
            self.fail(404, "Not found")
        else:
            self.send_json(200, self.hub.told(entry, self.whim, all_of_it=all_of_it))


def serve(folder: Path, port: int = 0) -> AbstractContextManager[CivArchiveHub]:
    """Serve `folder` for as long as the context lasts; raises as `serve_hub` does."""
    return serve_hub(folder, port, CivArchiveHub, Handler)


if __name__ == "__main__":
    sys.exit(run(serve, __doc__))
