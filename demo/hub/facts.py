"""What a loopback hub of any kind has, and what goes wrong with it."""

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from demo.hub.whims import Whims, damaged

Entry = dict[str, Any]
# Inside the network of whoever follows a redirect there: where clouds keep their secrets.
INSIDE = "https://169.254.169.254/latest/meta-data"
ELSEWHERE = "https://elsewhere.example"


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
    # What every answer says of the requests that are left: `"api";r=499;t=300`.
    rate_limit: str = ""


class HubFacts:
    """The facts that a hub serves; tests may change `entries` and `faults` at any time.

    An entry is one version of an adapter: owner, name, version_id, model_id, display_name,
    description, tags, trigger_words, base_model, licence, downloads, created_at, updated_at
    (seconds), file, covers [{file, prompt}], and where there are other files, beside
    {path in the repository: file}. Keys that start with "_" are never served.
    Entries with the same owner and name are versions of one repository.
    """

    # Fields without which nothing is known of an item: what is null by a whim is the others.
    keys: frozenset[str] = frozenset()

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

    def newest_first(self, repos: dict[str, list[Entry]]) -> list[tuple[str, list[Entry]]]:
        """Return repositories as hubs list them."""
        return sorted(repos.items(), key=lambda repo: (-updated_at(repo[1]), repo[0]))

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
        return next((f[path] for entry in entries if path in (f := self.files_of(entry))), None)

    def files_of(self, entry: Entry) -> dict[str, str]:
        """Return an adapter's file and those beside it, by their paths in its repository."""
        return {self.listed_path(entry["file"]): entry["file"], **entry.get("beside", {})}

    def cover_at(self, repo: str, version: int, position: int) -> str | None:
        """Return the file of a cover, by its position."""
        try:
            return str(self.repos()[repo][version]["covers"][position]["file"])
        except (KeyError, IndexError):
            return None


def updated_at(versions: list[Entry]) -> int:
    return max(int(entry["updated_at"]) for entry in versions)


def iso_time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def is_odd(name: str) -> bool:
    """Return the same coin toss for a name, on every machine."""
    return hashlib.sha256(name.encode()).digest()[0] % 2 == 1


def _lfs_pointer(data: bytes) -> bytes:
    digest = hashlib.sha256(data).hexdigest()
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(data)}\n"
    ).encode()
