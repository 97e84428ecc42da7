"""A local folder of safetensors files as a hub: one's own LoRAs, or a mirror."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from safetensors import SafetensorError, safe_open

from crawler.disk import DiskLimits
from crawler.download import copy_file, hash_file, place
from crawler.errors import DownloadError, FolderError, SourceError
from crawler.foreign_text import one_line
from crawler.hub_text import (
    MAX_DESCRIPTION,
    MAX_NAME,
    MAX_PROMPT,
    clean_line,
    clean_text,
    clean_words,
)
from crawler.peft_config import read_config_beside
from crawler.records import AdapterRecord, CoverRecord, FileRecord, Refusal

HUB = "folder"
_COVER_SUFFIXES = (".png", ".webp", ".jpg", ".jpeg", ".preview.png")
_MAX_SIDECAR_BYTES = 2**20
_MAX_COVER_BYTES = 32 * 2**20


class FolderSource:
    """Lists the safetensors files below a folder.

    A file's facts come from its own header, and before that from a sidecar `<stem>.json`
    with any of: name, author, description, trigger_words, tags, base_model, licence,
    mature, prompt. A picture `<stem>.png` (.webp, .jpg) is its cover.
    """

    hub = HUB

    def __init__(self, folder: Path, limits: DiskLimits | None = None) -> None:
        self._folder = folder.resolve()
        self._limits = limits or DiskLimits()

    @staticmethod
    def takes(address: str) -> bool:
        """Whether an address is a folder here."""
        return Path(address).is_dir()

    @property
    def endpoint(self) -> str:
        return str(self._folder)

    def list_adapters(
        self, updated_since: datetime | None = None
    ) -> Iterator[AdapterRecord | Refusal]:
        """Yield the files changed at or after `updated_since`, oldest change first.

        Raises:
            SourceError: there is no such folder.
        """
        for updated_at, path in sorted(self._files()):
            if updated_since is None or updated_at >= updated_since:
                yield self._read(path, updated_at)

    def download(self, record: AdapterRecord, target: Path) -> Path:
        """Copy the record's file into a folder of its own below `target`, verified.

        Raises:
            DownloadError: it has gone, has changed since it was listed, or cannot be written.
        """
        source = self._folder / record.file.name
        path = place(record, target)
        if not source.resolve().is_relative_to(self._folder):
            raise DownloadError(f"{record.file.name} leads out of {self._folder}; not copied")
        if not source.is_file():
            raise DownloadError(f"{source} is no longer there")
        copy_file(source, path, record.file, self._limits)
        return path

    def fetch_cover(self, cover: CoverRecord) -> bytes:
        """Return the bytes of a picture beside a file.

        Raises:
            SourceError: it is not inside the folder, too large, or unreadable.
        """
        path = Path(unquote(urlsplit(cover.url).path))
        try:
            if not path.resolve().is_relative_to(self._folder):
                raise FolderError(self._folder, f"the cover {path} lies outside")
            if path.stat().st_size > _MAX_COVER_BYTES:
                raise FolderError(self._folder, f"the cover {path} is larger than 32 MB")
            return path.read_bytes()
        except OSError as error:
            raise FolderError(self._folder, f"cover {path}: {error.strerror}") from error

    def close(self) -> None:
        """Nothing is held open."""

    def _files(self) -> Iterator[tuple[datetime, Path]]:
        if not self._folder.is_dir():
            raise FolderError(self._folder, "it is not there, or no folder")
        # os.walk follows no links to folders, so a loop of links ends nothing.
        for root, _, names in os.walk(self._folder, onerror=self._unreadable):
            for name in names:
                path = Path(root, name)
                if path.suffix.lower() == ".safetensors" and path.is_file():
                    yield datetime.fromtimestamp(path.stat().st_mtime, UTC), path

    def _unreadable(self, error: OSError) -> None:
        raise FolderError(self._folder, f"{error.filename}: {error.strerror}") from error

    def _read(self, path: Path, updated_at: datetime) -> AdapterRecord | Refusal:
        name = path.relative_to(self._folder).as_posix()
        repo = f"{self._folder.name}/{name.removesuffix(path.suffix)}"
        if not name.isprintable():
            # Shown as it is it would act on a terminal; cleaned it would name another file.
            reason = "the file's name holds invisible or control characters; rename it"
            return Refusal(HUB, one_line(repo), reason)
        if not path.resolve().is_relative_to(self._folder):
            return Refusal(HUB, repo, f"{name} is a link that leads out of the folder")
        try:
            facts = _sidecar(path)
            header = _header(path)
            file = FileRecord(
                name, path.stat().st_size, hash_file(path), peft_config=read_config_beside(path)
            )
        except (SourceError, OSError, ValueError) as error:
            return Refusal(HUB, repo, str(error))
        return self._record(repo, path, file, facts, header, updated_at)

    def _record(
        self,
        repo: str,
        path: Path,
        file: FileRecord,
        facts: dict[str, Any],
        header: dict[str, str],
        updated_at: datetime,
    ) -> AdapterRecord:
        def first(*values: Any) -> str:
            return next(filter(None, (clean_line(value, MAX_NAME) for value in values)), "")

        mature = facts.get("mature")
        return AdapterRecord(
            hub=HUB,
            repo=repo,
            version="",
            name=first(
                facts.get("name"),
                header.get("modelspec.title"),
                header.get("ss_output_name"),
                path.stem,
            ),
            author=first(facts.get("author"), header.get("modelspec.author")),
            description=clean_text(facts.get("description"), MAX_DESCRIPTION)
            or clean_text(header.get("modelspec.description"), MAX_DESCRIPTION),
            trigger_words=clean_words(facts.get("trigger_words"))
            or clean_words(header.get("modelspec.trigger_phrase")),
            tags=clean_words(facts.get("tags")) or _split(header.get("modelspec.tags")),
            base_model_words=clean_words(
                [
                    facts.get("base_model"),
                    header.get("modelspec.architecture"),
                    header.get("ss_base_model_version"),
                ]
            ),
            licence=first(facts.get("licence"), header.get("modelspec.license")) or None,
            mature=mature if isinstance(mature, bool) else None,
            downloads=0,
            created_at=updated_at,
            updated_at=updated_at,
            file=file,
            covers=_covers(path, facts),
            page_url=path.as_uri(),
        )


def _sidecar(path: Path) -> dict[str, Any]:
    sidecar = path.with_suffix(".json")
    if not sidecar.is_file():
        return {}
    if sidecar.stat().st_size > _MAX_SIDECAR_BYTES:
        raise SourceError(f"{sidecar.name} is larger than 1 MB")
    try:
        facts = json.loads(sidecar.read_bytes())
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{sidecar.name} is not JSON: {error}") from error
    if not isinstance(facts, dict):
        raise SourceError(f"{sidecar.name} holds no JSON object")
    return facts


def _header(path: Path) -> dict[str, str]:
    """Return what the trainer wrote into the file; the library checks the header's form."""
    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except SafetensorError as error:
        raise SourceError(f"{path.name} is not a safetensors file: {error}") from error


def _split(value: str | None) -> tuple[str, ...]:
    return clean_words((value or "").split(","))


def _covers(path: Path, facts: dict[str, Any]) -> tuple[CoverRecord, ...]:
    prompt = clean_text(facts.get("prompt"), MAX_PROMPT) or None
    pictures = (path.with_suffix(suffix) for suffix in _COVER_SUFFIXES)
    return tuple(CoverRecord(p.as_uri(), prompt) for p in pictures if p.is_file())[:1]
