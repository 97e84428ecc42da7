"""A hub on loopback that speaks ModelScope's protocol to the real client.

Serves a folder: `listing.json` (see `Hub`) and the files that it names.

    python -m demo.hub.modelscope FOLDER --port 8090
"""

import argparse
import hashlib
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

from demo.hub.modelscope_handler import Handler

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
    (seconds), file, covers [{file, prompt}]. Keys that start with "_" are never served.
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
            middle = len(data) // 2
            data = data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]
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
        names = (entry["file"] for entry in self.repos().get(repo, []))
        return next((name for name in names if self.listed_path(name) == path), None)

    def cover_at(self, repo: str, version: int, position: int) -> str | None:
        """Return the file of a cover, by its position."""
        try:
            return str(self.repos()[repo][version]["covers"][position]["file"])
        except (KeyError, IndexError):
            return None

    def page(self, number: int, size: int) -> dict[str, Any]:
        """Return one page of the listing, newest change first."""
        repos = sorted(self.repos().items(), key=lambda repo: (-_updated_at(repo[1]), repo[0]))
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
                "Name": Path(self.listed_path(entry["file"])).name,
                "Path": self.listed_path(entry["file"]),
                "Size": self.size(entry["file"]),
                "Sha256": self.sha256(entry["file"]),
                "Revision": "master",
                "IsLFS": True,
                "CommittedDate": entry["updated_at"],
            }
            for entry in versions
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


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    hub: Hub

    def __init__(self, port: int) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Clients hang up; anything else is our mistake and is shown.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def close(self) -> None:
        """Stop for good: connections that clients keep open would be served on otherwise."""
        self.shutdown()
        self.server_close()
        for connection in list(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                # The client was faster.
                continue


@contextmanager
def serve(folder: Path, port: int = 0) -> Iterator[Hub]:
    """Serve `folder` on loopback for as long as the context lasts.

    Raises:
        OSError: the port is in use.
        FileNotFoundError: the folder holds no listing.json.
    """
    server = _Server(port)
    server.hub = Hub(Path(folder), f"http://127.0.0.1:{server.server_port}")
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="hub", daemon=True
    ).start()
    try:
        yield server.hub
    finally:
        server.close()


def main() -> int:
    """Serve a folder until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="folder with listing.json")
    parser.add_argument("--port", type=int, default=0, help="0 takes any free one")
    arguments = parser.parse_args()
    try:
        with serve(arguments.folder, arguments.port) as hub:
            print(f"serving {len(hub.entries)} adapters on {hub.endpoint}", flush=True)
            while True:
                time.sleep(3600)
    except KeyboardInterrupt:
        return 0
    except FileNotFoundError as error:
        print(f"{error.filename} is missing: is {arguments.folder} a zoo?", file=sys.stderr)
    except OSError as error:
        print(
            f"port {arguments.port} cannot be used ({error.strerror}); choose another with --port",
            file=sys.stderr,
        )
    return 1


if __name__ == "__main__":
    sys.exit(main())
