"""What the loopback hub says of adapters, as ModelScope says it, and what goes wrong with it."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from demo.hub.facts import Entry, HubFacts, is_odd, updated_at
from demo.hub.whims import Whim


class Hub(HubFacts):
    """A ModelScope; see `HubFacts`."""

    keys = frozenset({"Path", "Name", "LastUpdatedTime", "CreatedTime", "TotalCount", "Code"})

    def page(self, number: int, size: int, whim: Whim | None = None) -> dict[str, Any]:
        """Return one page of the listing, newest change first."""
        repos = self.newest_first(self.whims.listed(whim, self.repos()))
        start = self.whims.start(whim, (number - 1) * size)
        chosen = self.whims.page(whim, repos[start : start + size])
        items = [_item(repo, versions) for repo, versions in chosen]
        if whim == "unfiltered":
            # All models of the hub, most of which are no LoRA.
            self.whims.count(whim)
            items = [item | {"AigcType": None} for item in items]
        return {"Models": items, "TotalCount": len(repos)}

    def detail(self, repo: str) -> dict[str, Any] | None:
        """Return all that the hub says of a repository."""
        versions = self.repos().get(repo)
        if versions is None:
            return None
        facts = _item(repo, versions)
        muse = self._muse(repo, versions)
        # The real hub does one or the other; nobody knows when.
        facts["MuseInfo"] = muse if is_odd(repo) else json.dumps(muse, ensure_ascii=False)
        files = [self._file(entry["file"]) for entry in versions]
        # Every other repository keeps its files to `repo/files`.
        facts["ModelInfos"] = {"safetensor": {"files": files}} if is_odd(repo + "files") else {}
        return facts

    def files(self, repo: str) -> list[dict[str, Any]] | None:
        """Return the files of a repository as `repo/files` does."""
        versions = self.repos().get(repo)
        if versions is None:
            return None
        return [
            {
                "Type": "blob",
                "Name": Path(path).name,
                "Path": path,
                "Size": self.size(name),
                "Sha256": self.sha256(name),
                "Revision": "master",
                "IsLFS": name == entry["file"],
                "CommittedDate": entry["updated_at"],
            }
            for entry in versions
            for path, name in self.files_of(entry).items()
        ]

    def _file(self, name: str) -> dict[str, Any]:
        return {
            "name": self.listed_path(name),
            "size": self.size(name),
            "sha256": self.sha256(name),
        }

    def _muse(self, repo: str, versions: list[Entry]) -> dict[str, Any]:
        first = versions[0]
        return {
            "model": {
                "modelName": first["display_name"],
                "modelType": "LORA",
                "stableDiffusionVersion": "",
                "tags": first["tags"],
            },
            "versions": [
                self._version(repo, number, entry) for number, entry in enumerate(versions)
            ],
        }

    def _version(self, repo: str, number: int, entry: Entry) -> dict[str, Any]:
        words = entry["trigger_words"]
        return {
            "modelVersion": {
                "id": entry["version_id"],
                "modelId": entry["model_id"],
                "versionName": f"v{number + 1}",
                "showName": f"v{number + 1}",
                # JSON in a string; nothing is said in two ways.
                "triggerWords": json.dumps(words or [""]) if words or is_odd(repo) else "none",
                "description": entry["description"],
                "downloadCount": entry["downloads"],
            },
            "stats": {
                "fileList": [self.listed_path(entry["file"])],
                "fileSizes": [self.size(entry["file"])],
            },
            "coverImages": [
                {
                    "url": self.faults.cover_address
                    or f"{self.endpoint}/covers/{quote(repo)}/{number}/{position}",
                    "prompt": cover["prompt"],
                }
                for position, cover in enumerate(entry["covers"])
            ],
        }


def _item(repo: str, versions: list[Entry]) -> dict[str, Any]:
    """Return the fields that listing and detail have in common."""
    first, owner, name = versions[0], *repo.split("/")
    return {
        "Id": first["model_id"],
        "Path": owner,
        "Name": name,
        "ChineseName": first["display_name"],
        "AigcType": "LoRA",
        "AigcAttributes": json.dumps({"AigcType": "LoRA"}),
        "VisionFoundation": "",
        "SubVisionFoundation": "",
        "BaseModel": [first["base_model"]] if first["base_model"] else [""],
        "TriggerWords": first["trigger_words"] or None,
        "Tags": first["tags"],
        "OfficialTags": [],
        "License": first["licence"],
        "Downloads": sum(entry["downloads"] for entry in versions),
        "Stars": 0,
        "CreatedTime": min(entry["created_at"] for entry in versions),
        "LastUpdatedTime": updated_at(versions),
        "Description": first["description"],
    }
