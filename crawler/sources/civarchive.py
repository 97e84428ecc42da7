"""CivArchive: where files still are that Civitai has lost, by their sha256.

Nothing is listed or crawled here. One question is asked about a file that is gone, and a second
where the answer names its model only. Routes and fields are those that ComfyUI-Lora-Manager reads
(py/services/civarchive_client.py and its tests); none was tried on the live site.
"""

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from crawler.addresses import is_loopback
from crawler.disk import DiskLimits
from crawler.download import check_announced
from crawler.errors import AccessDeniedError, GoneError, HashMismatchError, SourceError
from crawler.hashed_file import HashedFile
from crawler.hub_json import as_dict, as_list
from crawler.manners import Manners
from crawler.records import AdapterRecord, RemoteHeader
from crawler.sources.hub_client import HubClient, HubNames
from crawler.sources.hub_fields import read_id, read_sha256, read_url

NAMES = HubNames("CivArchive", "CIVARCHIVE")
# The hub that has lost the file need not be asked again by way of the archive.
LOST_AT = ("civitai.com", "civitai.red")
REQUESTS_PER_SECOND = 1.0
# Files asked about by one source, as long as it is open: the next refresh goes on.
MOST_FILES = 200
# Addresses of one file that are tried, and entries of an answer that are looked at for them.
MOST_MIRRORS, MOST_ENTRIES = 3, 50
_NUMBER = re.compile(r"[0-9]{1,18}")
T = TypeVar("T")


class CivArchive:
    """Asks the archive, politely, and its mirrors without telling them anything.

    A mirror is an address of a stranger's: https to the public internet, and its file has the size
    and sha256 that Civitai told, or is not taken.
    """

    def __init__(self, endpoint: str) -> None:
        pace = None if is_loopback(endpoint) else REQUESTS_PER_SECOND
        self._client = HubClient(NAMES, endpoint, {}, Manners(pace, attempts=2, downloads=2))
        self._mirrors: dict[str, list[str]] = {}
        self._asking = threading.Lock()

    def close(self) -> None:
        self._client.close()

    def read_header(self, record: AdapterRecord) -> RemoteHeader:
        """Return the start of a file that a mirror has; raises as `download` does."""

        def read(url: str) -> RemoteHeader:
            header = self._client.read_header_elsewhere(url)
            check_announced(record, header)
            return header

        return self._from_mirrors(record, read)

    def download(self, record: AdapterRecord, path: Path, limits: DiskLimits) -> HashedFile:
        """Fetch a record's file, whose sha256 is known, from a mirror to `path`.

        Raises:
            GoneError: the archive does not know it, or no mirror gives it.
            SourceError: the archive does not answer.
            DownloadError: it may not be had here, or cannot be written.
        """
        return self._from_mirrors(
            record, lambda url: self._client.download_elsewhere(url, record, path, limits)
        )

    def _from_mirrors(self, record: AdapterRecord, fetch: Callable[[str], T]) -> T:
        assert record.file.sha256 is not None
        troubles = []
        for url in self._find_mirrors(record.file.sha256):
            try:
                return fetch(url)
            except (SourceError, HashMismatchError) as error:
                troubles.append(str(error))
        raise GoneError(" ".join(["CivArchive knows no mirror that gives it.", *troubles]))

    def _find_mirrors(self, sha256: str) -> list[str]:
        """Return addresses of a file; of one that was asked about before, the same."""
        with self._asking:
            if sha256 not in self._mirrors:
                if len(self._mirrors) >= MOST_FILES:
                    raise SourceError(
                        f"CivArchive was asked about {MOST_FILES} files; about others next time."
                    )
                # One that it does not answer about is not asked about again either.
                self._mirrors[sha256] = []
                self._mirrors[sha256] = self._ask_for_mirrors(sha256)
            return self._mirrors[sha256]

    def _ask_for_mirrors(self, sha256: str) -> list[str]:
        answer = self._ask(f"sha256/{sha256}")
        files = list(_files(answer))
        if not any(file.get("sha256") for file in files) and (model := _find_model(files)):
            files = list(_files(self._ask(model)))
        same = (file for file in files if read_sha256(file.get("sha256")) == sha256)
        base = f"{self._client.endpoint}/"
        told = (read_url(base, url) for file in same for url in _addresses(file))
        urls = dict.fromkeys(url for url in told if url and not _is_lost_at(url))
        return list(urls)[:MOST_MIRRORS]

    def _ask(self, path: str) -> Mapping[str, Any]:
        try:
            answer = as_dict(self._client.ask_json("GET", path))
        except AccessDeniedError as error:
            # There is no account whose token could be set.
            raise SourceError("CivArchive does not let us in.") from error
        # Most of what it says is wrapped.
        return as_dict(answer.get("data")) or answer


def _files(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the files of a version; they may stand beside it, or in its model."""
    model = as_dict(data.get("model"))
    for place in (as_dict(data.get("version")), as_dict(model.get("version")), data, model):
        yield from map(as_dict, as_list(place.get("files"))[:MOST_ENTRIES])


def _find_model(files: list[Mapping[str, Any]]) -> str | None:
    """Return the question about the version that one of the files is of."""
    for file in files:
        model = read_id(file.get("model_id", file.get("modelId")))
        version = read_id(file.get("model_version_id", file.get("modelVersionId")))
        if _NUMBER.fullmatch(model) and _NUMBER.fullmatch(version):
            return f"models/{model}?modelVersionId={version}"
    return None


def _addresses(file: Mapping[str, Any]) -> Iterator[Any]:
    for mirror in map(as_dict, as_list(file.get("mirrors"))[:MOST_ENTRIES]):
        if mirror.get("deletedAt") is None:
            yield mirror.get("url")
    yield file.get("downloadUrl")


def _is_lost_at(url: str) -> bool:
    return (urlsplit(url).hostname or "").removeprefix("www.") in LOST_AT
