"""A hub on loopback that speaks Hugging Face's protocol.

Serves a folder: `listing.json` (see `HubFacts`) and the files that it names. Of an entry it also
knows `gated` ("auto" or "manual"), `disabled` and `private`. A repository's versions
are its files.

    python -m demo.hub.hugging_face FOLDER --port 8090
"""

import hashlib
import re
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode

from demo.hub.facts import ELSEWHERE, Entry, HubFacts, is_odd, iso_time, updated_at
from demo.hub.handler import HubHandler, Query
from demo.hub.server import run, serve_hub
from demo.hub.whims import Whim

_LISTING = re.compile(r"/api/models")
_DETAIL = re.compile(r"/api/models/([^/]+/[^/]+)")
_TREE = re.compile(r"/api/models/([^/]+/[^/]+)/tree/[^/]+")
_FILE = re.compile(r"/([^/]+/[^/]+)/resolve/[^/]+/(?!images/)(.+)")
_COVER = re.compile(r"/([^/]+/[^/]+)/resolve/[^/]+/images/(\d+)-(\d+)\.\w+")
_MAX_PAGE_SIZE = 1000


class HuggingFaceHub(HubFacts):
    """A Hugging Face; see `HubFacts`."""

    keys = frozenset({"id", "lastModified", "createdAt", "rfilename", "sha256", "oid", "path"})

    def __init__(self, folder: Path, endpoint: str) -> None:
        super().__init__(folder, endpoint)
        # Repositories whose files come without hashes in the detail, as on some mirrors.
        self.without_blobs: set[str] = set()

    def page(self, query: Query, whim: Whim | None) -> tuple[list[dict[str, Any]], int | None]:
        """Return the items of a page, and where the next one starts."""
        repos = self.newest_first(self.whims.listed(whim, self.repos()))
        if whim == "unfiltered":
            self.whims.count(whim)
        wanted = [
            repo
            for repo in repos
            if whim == "unfiltered" or set(query.get("filter", ())) <= set(tags_of(repo[1]))
        ]
        start = self.whims.start(whim, int(query.get("cursor", ["0"])[0]))
        size = min(int(query.get("limit", ["100"])[0]), _MAX_PAGE_SIZE)
        chosen = self.whims.page(whim, wanted[start : start + size])
        fields = {"_id", "id", *query.get("expand", ())}
        details = [self.detail(repo, whim) or {} for repo, _ in chosen]
        items = [{key: facts[key] for key in facts if key in fields} for facts in details]
        return items, start + size if start + size < len(wanted) else None

    def detail(self, repo: str, whim: Whim | None = None) -> dict[str, Any] | None:
        """Return what the hub says of a repository."""
        versions = self.repos().get(repo)
        if versions is None:
            return None
        first = versions[0]
        return {
            "_id": hashlib.sha256(repo.encode()).hexdigest()[:24],
            "id": repo,
            "modelId": repo,
            "author": repo.split("/")[0],
            "sha": hashlib.sha1(repo.encode(), usedforsecurity=False).hexdigest(),
            "lastModified": iso_time(updated_at(versions)),
            "createdAt": iso_time(min(entry["created_at"] for entry in versions)),
            "private": first.get("private", False),
            "gated": first.get("gated", False),
            "disabled": first.get("disabled", False),
            "downloads": sum(entry["downloads"] for entry in versions),
            "likes": 0,
            "library_name": "diffusers",
            "pipeline_tag": "text-to-image",
            "tags": tags_of(versions),
            "cardData": self._card(repo, versions),
            "siblings": self._siblings(repo, versions, whim),
            "spaces": [],
            "usedStorage": sum(self.size(entry["file"]) for entry in versions),
        }

    def tree(self, repo: str, whim: Whim | None) -> list[dict[str, Any]] | None:
        """Return the files of a repository as the tree call does."""
        versions = self.repos().get(repo)
        if versions is None:
            return None
        files = []
        for entry in versions:
            size, sha256 = self._blob(entry["file"], whim)
            lfs = {"oid": sha256, "size": size, "pointerSize": 134}
            path = self.listed_path(entry["file"])
            files.append(
                {"type": "file", "oid": _oid(path), "size": size, "path": path, "lfs": lfs}
            )
        readme = {"type": "file", "oid": _oid("README.md"), "size": 100, "path": "README.md"}
        return [
            {"type": "directory", "oid": _oid("i"), "size": 0, "path": "images"},
            readme,
            *files,
        ]

    def _siblings(
        self, repo: str, versions: list[Entry], whim: Whim | None
    ) -> list[dict[str, Any]]:
        siblings: list[dict[str, Any]] = [
            {"rfilename": "README.md", "size": 100, "blobId": _oid("README.md")}
        ]
        for entry in versions:
            path = self.listed_path(entry["file"])
            size, sha256 = self._blob(entry["file"], whim)
            told = {
                "size": size,
                "blobId": _oid(path),
                "lfs": {"sha256": sha256, "size": size, "pointerSize": 134},
            }
            siblings.append({"rfilename": path, **({} if repo in self.without_blobs else told)})
        return siblings

    def _blob(self, name: str, whim: Whim | None) -> tuple[int, str]:
        """Return the size and hash of a file as announced."""
        told: dict[str, Any] = {"size": self.size(name), "sha256": self.sha256(name)}
        self.whims.spoil(whim, [told])
        return told["size"], told["sha256"]

    def _card(self, repo: str, versions: list[Entry]) -> dict[str, Any]:
        first = versions[0]
        widgets = []
        for number, entry in enumerate(versions):
            for position, cover in enumerate(entry["covers"]):
                path = f"images/{number}-{position}{Path(cover['file']).suffix}"
                # Authors write either.
                whole = f"{self.endpoint}/{repo}/resolve/main/{path}"
                url = self.faults.cover_address or (whole if is_odd(repo) else path)
                widgets.append({"text": cover["prompt"] or "-", "output": {"url": url}})
        words = first["trigger_words"]
        base = first["base_model"]
        return {
            "base_model": [base] if base and is_odd(repo) else base or None,
            "instance_prompt": ", ".join(words) or None,
            "license": first["licence"],
            "tags": [*first["tags"], "lora", "diffusers"],
            "widget": widgets,
        }


def tags_of(versions: list[Entry]) -> list[str]:
    """Return a repository's tags, with those that the hub itself adds."""
    first = versions[0]
    marks = ["lora", "template:sd-lora"] if is_odd(first["name"]) else ["template:diffusion-lora"]
    base = first["base_model"]
    based = [f"base_model:{base}", f"base_model:adapter:{base}"] if base else []
    licence = [f"license:{first['licence'].lower()}"] if first["licence"] else []
    return ["diffusers", "text-to-image", *marks, *first["tags"], *based, *licence, "region:us"]


class Handler(HubHandler[HuggingFaceHub]):
    """One request to Hugging Face."""

    answers: ClassVar = {
        "listing": _LISTING, "detail": _DETAIL, "files": _TREE, "cover": _COVER, "file": _FILE,
    }  # fmt: skip

    def answer(self, path: str, query: Query) -> None:
        if _LISTING.fullmatch(path):
            self._list(query)
        elif match := _DETAIL.fullmatch(path):
            self._detail(match[1])
        elif match := _TREE.fullmatch(path):
            tree = self.hub.tree(match[1], self.whim)
            self._unknown() if tree is None else self.send_json(200, tree)
        elif match := _COVER.fullmatch(path):
            self.send_cover(self.hub.cover_at(match[1], int(match[2]), int(match[3])))
        elif match := _FILE.fullmatch(path):
            self._file(match[1], match[2])
        else:
            self.fail(404, "no such route")

    def _list(self, query: Query) -> None:
        if query.get("sort", ["lastModified"]) != ["lastModified"]:
            self.fail(400, "this hub sorts by lastModified")
            return
        items, following = self.hub.page(query, self.whim)
        links = {}
        if following is not None:
            asked = [(key, value) for key in query for value in query[key] if key != "cursor"]
            host = self.hub.endpoint
            if self.whim == "other host":
                self.hub.whims.count("other host")
                host = ELSEWHERE
            address = f"{host}/api/models?{urlencode([*asked, ('cursor', str(following))])}"
            links = {"Link": f'<{address}>; rel="next"'}
        self.send_json(200, items, links)

    def _detail(self, repo: str) -> None:
        detail = self.hub.detail(repo, self.whim)
        if repo in self.hub.faults.error_code:
            self.fail(200, "Repository not found")
        elif repo in self.hub.faults.broken:
            self.fail(500, "internal error")
        elif detail is None:
            self._unknown()
        else:
            self.send_json(200, detail)

    def _file(self, repo: str, path: str) -> None:
        detail, name = self.hub.detail(repo) or {}, self.hub.file_at(repo, path)
        if detail.get("gated") and not self.headers.get("Authorization"):
            self.send_json(
                401,
                {"error": f"Access to model {repo} is restricted."},
                {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."},
            )
            return
        if name is None:
            self.send_json(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
            return
        told = {
            "ETag": f'"{self.hub.sha256(name)}"',
            "X-Linked-ETag": f'"{self.hub.sha256(name)}"',
            "X-Linked-Size": str(self.hub.size(name)),
            "X-Repo-Commit": detail["sha"],
        }
        self.send_file(name, told)

    def _unknown(self) -> None:
        error = {"error": "Repository not found"}
        self.send_json(404, error, {"X-Error-Code": "RepoNotFound"})


def serve(folder: Path, port: int = 0) -> AbstractContextManager[HuggingFaceHub]:
    """Serve `folder` for as long as the context lasts; raises as `serve_hub` does."""
    return serve_hub(folder, port, HuggingFaceHub, Handler)


def _oid(path: str) -> str:
    return hashlib.sha1(path.encode(), usedforsecurity=False).hexdigest()


if __name__ == "__main__":
    sys.exit(run(serve, __doc__))
