"""A hub on loopback that speaks Civitai's protocol.

Serves a folder: `listing.json` (see `HubFacts`) and the files that it names. Of an entry it also
knows, each as the hub says it: `mode`, `usageControl`, `paidAccess`, `earlyAccessEndsAt`, `nsfw`,
`nsfwLevel`, `minor` and `allowCommercialUse`. Entries with the same model_id are versions of one
model.

    python -m demo.hub.civitai FOLDER --port 8090
"""

import re
import sys
import uuid
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode

from demo.hub.facts import ELSEWHERE, Entry, HubFacts, iso_time, updated_at
from demo.hub.handler import HubHandler, Query
from demo.hub.server import run, serve_hub
from demo.hub.whims import Whim

_LISTING = re.compile(r"/api/v1/models")
_DETAIL = re.compile(r"/api/v1/models/(\d+)")
_VERSION = re.compile(r"/api/v1/model-versions/(\d+)")
_DOWNLOAD = re.compile(r"/api/download/models/(\d+)")
_FILE = re.compile(r"/signed/(\d+)")
_COVER = re.compile(r"/account/[^/]+/[^/]+/(\d+)-(\d+)\.\w+")
_MAX_PAGE_SIZE = 100
# What is said of a version and of a model, where an entry does; `usageControl` of a version alone.
_OF_VERSION = ("paidAccess", "earlyAccessEndsAt", "availability")
_OF_MODEL = ("mode", "nsfw", "minor", "allowCommercialUse")
# Of nsfwLevel: PG, and PG to XXX.
_PG, _RATED = 1, 31


class CivitaiHub(HubFacts):
    """A Civitai; see `HubFacts`."""

    keys = frozenset({"id", "publishedAt", "createdAt", "name", "SHA256", "modelVersions", "error"})

    def repos(self) -> dict[str, list[Entry]]:
        """Return the versions of every model, newest first."""
        models: dict[str, list[Entry]] = {}
        for entry in self.entries:
            models.setdefault(str(entry["model_id"]), []).insert(0, entry)
        return models

    def page(self, query: Query, whim: Whim | None) -> dict[str, Any]:
        """Return a page of models, by when their last version was published.

        The cursor names the model that did not fit on a page, and the next page begins after it.
        """
        repos = self.whims.listed(whim, self.repos())
        places = {int(number): _place(number, versions) for number, versions in repos.items()}
        items = [self.model(number, versions, whim) for number, versions in repos.items()]
        items = [item for item in items if _is_shown(item, query)]
        items.sort(key=lambda item: places[item["id"]], reverse=True)
        if ids := query.get("ids"):
            wanted = ids[0].split(",")
            return {"items": [i for i in items if str(i["id"]) in wanted], "metadata": {}}
        if whim == "unfiltered":
            self.whims.count(whim)
            items = [item | {"type": "Checkpoint"} for item in items]
        else:
            items = [_of_bases(item, query) for item in items if _is_asked_for(item, query)]
        size = min(int(query.get("limit", ["100"])[0]), _MAX_PAGE_SIZE)
        start = 0
        if cursor := query.get("cursor"):
            before = _read_cursor(cursor[0])
            start = sum(places[item["id"]] >= before for item in items)
        start = self.whims.start(whim, start)
        chosen = self.whims.page(whim, items[start : start + size])
        metadata: dict[str, Any] = {"pageSize": size}
        if start + size < len(items):
            asked = [(key, value) for key in query for value in query[key] if key != "cursor"]
            following = "{}|{}".format(*places[items[start + size]["id"]])
            host = self.endpoint
            if whim == "other host":
                self.whims.count(whim)
                host = ELSEWHERE
            address = f"{host}/api/v1/models?{urlencode([*asked, ('cursor', following)])}"
            metadata |= {"nextCursor": following, "nextPage": address}
        return {"items": chosen, "metadata": metadata}

    def model(self, number: str, versions: list[Entry], whim: Whim | None) -> dict[str, Any]:
        """Return an item of the listing."""
        first = versions[0]
        downloads = sum(entry["downloads"] for entry in versions)
        return {
            "id": int(number),
            "name": first["display_name"],
            "description": f"<p>{first['description']}</p>",
            "allowNoCredit": True,
            "allowCommercialUse": ["Image", "RentCivit", "Rent", "Sell"],
            "allowDerivatives": True,
            "allowDifferentLicense": True,
            "type": "LORA",
            "minor": False,
            "poi": False,
            "nsfw": False,
            "nsfwLevel": reduce(or_, (entry.get("nsfwLevel", 1) for entry in versions)),
            "availability": "Public",
            "cosmetic": None,
            "supportsGeneration": True,
            "stats": _stats(downloads),
            "creator": {"username": first["owner"], "image": None},
            "tags": first["tags"],
            "modelVersions": [
                self.version(entry, whim) | {"index": place} for place, entry in enumerate(versions)
            ],
            **{key: first[key] for key in _OF_MODEL if key in first},
        }

    def version(self, entry: Entry, whim: Whim | None) -> dict[str, Any]:
        """Return a version as it stands in a model: its images come without prompts."""
        number = entry["version_id"]
        return {
            "id": number,
            "name": f"v{number}",
            "baseModel": entry["base_model"],
            "baseModelType": "Standard",
            "createdAt": iso_time(entry["created_at"]),
            "publishedAt": iso_time(entry["updated_at"]),
            "status": "Published",
            "availability": "Public",
            "nsfwLevel": entry.get("nsfwLevel", 1),
            "description": None,
            "trainedWords": entry["trigger_words"],
            "stats": _stats(entry["downloads"]),
            "supportsGeneration": True,
            "files": [] if entry.get("mode") == "Archived" else [self._file(entry, whim)],
            "images": [
                self._image(entry, place, "width=1024") for place in range(len(entry["covers"]))
            ],
            "downloadUrl": f"{self.endpoint}/api/download/models/{number}",
            **{key: entry[key] for key in _OF_VERSION if key in entry},
        }

    def detail(self, entry: Entry, whim: Whim | None) -> dict[str, Any]:
        """Return a version as it is told alone: its images come with prompts."""
        images = []
        for place, cover in enumerate(entry["covers"]):
            meta = {"prompt": cover["prompt"], "steps": 20, "sampler": "Euler"}
            image = self._image(entry, place, "original=true")
            del image["id"]
            images.append(image | {"meta": meta if cover["prompt"] else None})
        model = {"name": entry["display_name"], "type": "LORA", "nsfw": False, "poi": False}
        return self.version(entry, whim) | {
            "modelId": entry["model_id"],
            "updatedAt": iso_time(entry["updated_at"]),
            "usageControl": entry.get("usageControl", "Download"),
            "earlyAccessEndsAt": entry.get("earlyAccessEndsAt"),
            "air": f"urn:air:flux1:lora:civitai:{entry['model_id']}@{entry['version_id']}",
            "model": model,
            "images": images,
        }

    def find_version(self, number: int) -> Entry | None:
        return next((entry for entry in self.entries if entry["version_id"] == number), None)

    def _file(self, entry: Entry, whim: Whim | None) -> dict[str, Any]:
        name = entry["file"]
        told: dict[str, Any] = {"size": self.size(name), "sha256": self.sha256(name)}
        self.whims.spoil(whim, [told])
        sha256 = told["sha256"].upper()
        return {
            "id": entry["version_id"] + 10**6,
            "sizeKB": told["size"] / 1024,
            "name": self.listed_path(name),
            "type": "Model",
            "pickleScanResult": "Success",
            "pickleScanMessage": "No Pickle imports",
            "virusScanResult": "Success",
            "virusScanMessage": None,
            "scannedAt": iso_time(entry["created_at"]),
            "metadata": {"format": "SafeTensor", "size": None, "fp": None},
            "hashes": {"AutoV2": sha256[:10], "SHA256": sha256, "CRC32": sha256[:8]},
            "downloadUrl": f"{self.endpoint}/api/download/models/{entry['version_id']}",
            "primary": True,
        }

    def _image(self, entry: Entry, place: int, parameters: str) -> dict[str, Any]:
        number, suffix = entry["version_id"], Path(entry["covers"][place]["file"]).suffix
        name = f"{number}-{place}{suffix}"
        folder = uuid.uuid5(uuid.NAMESPACE_OID, name)
        told = bool(entry["covers"][place]["prompt"])
        return {
            "id": number * 100 + place,
            "url": self.faults.cover_address
            or f"{self.endpoint}/account/{folder}/{parameters}/{name}",
            "nsfwLevel": 1,
            "width": 32,
            "height": 32,
            "hash": "U00000fQfQfQfQfQfQfQfQfQfQfQ",
            "type": "image",
            "hasMeta": told,
            "hasPositivePrompt": told,
            "onSite": False,
            "remixOfId": None,
        }


def _place(number: str, versions: list[Entry]) -> tuple[datetime, int]:
    """Return what models are sorted by, as the hub's database has it."""
    return datetime.fromtimestamp(updated_at(versions), UTC).replace(tzinfo=None), int(number)


def _read_cursor(cursor: str) -> tuple[datetime, int]:
    time, _, number = cursor.partition("|")
    return datetime.fromisoformat(time), int(number)


def _is_shown(item: dict[str, Any], query: Query) -> bool:
    """Whether a listing has a model: one of all levels leaves out what is flagged `minor`."""
    if query.get("nsfw") == ["true"]:
        return bool(item["nsfwLevel"] & _RATED) and not item["minor"]
    return bool(item["nsfwLevel"] & _PG)


def _is_asked_for(item: dict[str, Any], query: Query) -> bool:
    bases = {version["baseModel"] for version in item["modelVersions"]}
    return (
        item["type"] in query.get("types", [item["type"]])
        and bool(bases & set(query.get("baseModels", bases)))
        and set(query.get("tag", ())) <= {tag.lower() for tag in item["tags"]}
    )


def _of_bases(item: dict[str, Any], query: Query) -> dict[str, Any]:
    """Return a model with the versions for the bases that are asked for; its place is as it was."""
    versions = item["modelVersions"]
    bases = query.get("baseModels", [version["baseModel"] for version in versions])
    return item | {"modelVersions": [one for one in versions if one["baseModel"] in bases]}


class Handler(HubHandler[CivitaiHub]):
    """One request to Civitai."""

    answers: ClassVar = {
        "listing": _LISTING, "detail": _DETAIL, "version": _VERSION, "download": _DOWNLOAD,
        "file": _FILE, "cover": _COVER,
    }  # fmt: skip

    def answer(self, path: str, query: Query) -> None:
        if _LISTING.fullmatch(path):
            self.send_json(200, self.hub.page(query, self.whim))
        elif match := _DETAIL.fullmatch(path):
            self._model(match[1])
        elif match := _VERSION.fullmatch(path):
            entry = self.hub.find_version(int(match[1]))
            if entry is None:
                self.fail(404, "No version")
            else:
                self.send_json(200, self.hub.detail(entry, self.whim))
        elif match := _DOWNLOAD.fullmatch(path):
            self._download(self.hub.find_version(int(match[1])), match[1])
        elif match := _FILE.fullmatch(path):
            entry = self.hub.find_version(int(match[1]))
            self.send_file(entry["file"] if entry else None, {})
        elif match := _COVER.fullmatch(path):
            entry = self.hub.find_version(int(match[1]))
            covers = entry["covers"] if entry else []
            place = int(match[2])
            self.send_cover(covers[place]["file"] if place < len(covers) else None)
        else:
            self.fail(404, "Not found")

    def _model(self, number: str) -> None:
        versions = self.hub.repos().get(number)
        if number in self.hub.faults.error_code:
            self.fail(200, "Model not found")
        elif number in self.hub.faults.broken:
            self.fail(500, "internal error")
        elif versions is None:
            self.fail(404, "No model with id")
        else:
            self.send_json(200, self.hub.model(number, versions, self.whim))

    def _download(self, entry: Entry | None, number: str) -> None:
        """Redirect to a signed address, for who has a token and is let in."""
        if entry is None:
            self.fail(404, "Model not found")
        elif entry.get("mode") == "Archived":
            self.fail(410, "Model archived")
        elif entry.get("usageControl", "Download") != "Download":
            self.fail(401, "Unauthorized", message="The creator has disabled downloads")
        elif not self.headers.get("Authorization"):
            self.fail(401, "Unauthorized", message="The creator requires you to be logged in")
        elif entry.get("paidAccess"):
            self.fail(403, "Early Access", deadline=entry["paidAccess"].get("endsAt"))
        else:
            self.send(302, b"", {"Location": f"{self.hub.endpoint}/signed/{number}?sig=abc"})


def serve(folder: Path, port: int = 0) -> AbstractContextManager[CivitaiHub]:
    """Serve `folder` for as long as the context lasts; raises as `serve_hub` does."""
    return serve_hub(folder, port, CivitaiHub, Handler)


def _stats(downloads: int) -> dict[str, Any]:
    return {"downloadCount": downloads, "thumbsUpCount": 0, "thumbsDownCount": 0}


if __name__ == "__main__":
    sys.exit(run(serve, __doc__))
