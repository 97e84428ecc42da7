"""What the loopback hub says of adapters, as ModelScope says it, and what goes wrong with it."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from demo.hub.modelscope_whims import Whim, Whims, damaged

Entry = dict[str, Any]


@dataclass
class Faults:
    """What goes wrong at the hub. Files are named as in the listing, repositories owner/name."""

    down: bool = False
    corrupt: set[str] = field(default_factory=set)
    wrong_sha256: set[str] = field(default_factory=set)
    # Cut in the middle, once each; a file leaves the set when it has been cut.
    cut_once: set[str] = field(default_factory=set)
    lfs_pointer: set[str] = field(default_factory=set)
    # Detail answers HTTP 200 with an error in its JSON.
    error_code: set[str] = field(default_factory=set)
    # Detail answers HTTP 500.
    broken: set[str] = field(default_factory=set)
    # File name -> the path that the hub says it has.
    listed_as: dict[str, str] = field(default_factory=dict)
    # File name -> where a download is redirected to.
    redirect: dict[str, str] = field(default_factory=dict)
    # Where every cover is said to be.
    cover_address: str = ""
    # Where ModelScope's own library would ask in which region it runs, and what for.
    region_address: str = ""


class Hub:
    """The facts that the hub serves; tests may change `entries` and `faults` at any time.

    An entry is one version of an adapter: owner, name, version_id, model_id, display_name,
    description, tags, trigger_words, base_model, licence, downloads, created_at, updated_at
    (seconds), file, covers [{file, prompt}], and where there are other files, beside
    {path in the repository: file}. Keys that start with "_" are never served.
    Entries with the same owner and name are versions of one repository.
    """

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.folder = folder
        self.endpoint = endpoint
        self.entries: list[Entry] = [
            {key: value for key, value in entry.items() if not key.startswith("_")}
            for entry in json.loads((folder / "listing.json").read_text(encoding="utf-8"))
        ]
        self.faults = Faults()
        self.whims = Whims()
        # (method, path, Range header) of every request so far.
        self.requests: list[tuple[str, str, str | None]] = []
        # The headers of each of them.
        self.headers: list[dict[str, str]] = []
        self._sha256: dict[str, str] = {}

    def repos(self) -> dict[str, list[Entry]]:
        """Return the versions of every repository."""
        repos: dict[str, list[Entry]] = {}
        for entry in self.entries:
            repos.setdefault(f"{entry['owner']}/{entry['name']}", []).append(entry)
        return repos

    def read(self, name: str) -> bytes:
        """Return the bytes of a file as served, faults included."""
        data = (self.folder / name).read_bytes()
        if name in self.faults.corrupt:
            data = damaged(data)
        if name in self.faults.lfs_pointer:
            data = _lfs_pointer(data)
        return data

    def sha256(self, name: str) -> str:
        """Return the sha256 of a file as announced, faults included."""
        if name in self.faults.wrong_sha256:
            return hashlib.sha256(name.encode()).hexdigest()
        if name not in self._sha256:
            self._sha256[name] = hashlib.sha256((self.folder / name).read_bytes()).hexdigest()
        return self._sha256[name]

    def size(self, name: str) -> int:
        return (self.folder / name).stat().st_size

    def listed_path(self, name: str) -> str:
        """Return the path of a file inside its repository."""
        return self.faults.listed_as.get(name, Path(name).name)

    def file_at(self, repo: str, path: str) -> str | None:
        """Return the listing's name of the file at a path of a repository."""
        entries = self.repos().get(repo, [])
        for entry in entries:
            if self.listed_path(entry["file"]) == path:
                return str(entry["file"])
        return next((name for entry in entries if (name := _beside(entry).get(path))), None)

    def cover_at(self, repo: str, version: int, position: int) -> str | None:
        """Return the file of a cover, by its position."""
        try:
            return str(self.repos()[repo][version]["covers"][position]["file"])
        except (KeyError, IndexError):
            return None

    def page(self, number: int, size: int, whim: Whim | None = None) -> dict[str, Any]:
        """Return one page of the listing, newest change first."""
        listed = self.whims.listed(whim, self.repos())
        repos = sorted(listed.items(), key=lambda repo: (-_updated_at(repo[1]), repo[0]))
        chosen = repos[(number - 1) * size : number * size]
        return {
            "Models": [_item(repo, versions) for repo, versions in chosen],
            "TotalCount": len(repos),
        }

    def detail(self, repo: str) -> dict[str, Any] | None:
        """Return all that the hub says of a repository."""
        versions = self.repos().get(repo)
        if versions is None:
            return None
        facts = _item(repo, versions)
        muse = self._muse(repo, versions)
        # The real hub does one or the other; nobody knows when.
        facts["MuseInfo"] = muse if _odd(repo) else json.dumps(muse, ensure_ascii=False)
        files = [self._file(entry["file"]) for entry in versions]
        # Every other repository keeps its files to `repo/files`.
        facts["ModelInfos"] = {"safetensor": {"files": files}} if _odd(repo + "files") else {}
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
            for path, name in (
                (self.listed_path(entry["file"]), entry["file"]),
                *_beside(entry).items(),
            )
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
                "triggerWords": json.dumps(words or [""]) if words or _odd(repo) else "none",
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
        "LastUpdatedTime": _updated_at(versions),
        "Description": first["description"],
    }


def _beside(entry: Entry) -> dict[str, str]:
    """Return the other files of an adapter's repository, by their paths there."""
    beside: dict[str, str] = entry.get("beside", {})
    return beside


def _updated_at(versions: list[Entry]) -> int:
    return max(int(entry["updated_at"]) for entry in versions)


def _odd(name: str) -> bool:
    """Return the same coin toss for a name, on every machine."""
    return hashlib.sha256(name.encode()).digest()[0] % 2 == 1


def _lfs_pointer(data: bytes) -> bytes:
    digest = hashlib.sha256(data).hexdigest()
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(data)}\n"
    ).encode()
