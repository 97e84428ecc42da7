"""A local folder of safetensors files as a hub: one's own LoRAs, or a mirror."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from crawler.covers import MAX_BYTES
from crawler.disk import DiskLimits, is_folder
from crawler.download import MAX_HEADER_BYTES
from crawler.errors import DownloadError, FolderError, SourceError
from crawler.hashed_file import HashedFile, hash_file
from crawler.records import (
    AdapterRecord,
    CoverRecord,
    Listed,
    Moved,
    Refusal,
    Remembered,
    RemoteHeader,
    Unchanged,
)
from crawler.sources.folder.describing import HUB, describe, may_show, repo_of
from crawler.sources.folder.found import (
    SUFFIX,
    FoundFile,
    Tree,
    Vanished,
    find_moved,
    out_before_in,
    stamp_of,
    unreadable,
)
from crawler.sources.folder.names import shown, why_not_stored
from crawler.sources.folder.pickles import find_pickles

BY_ANOTHER_NAME = "is safetensors under another ending: rename it to .safetensors, and it is read"

# Says what is wrong with a file that is no safetensors, for people; None if nothing is.
Explain = Callable[[Path], str | None]


class FolderSource:
    """Lists the safetensors files below a folder, with what is kept beside them.

    docs/folders.md tells people what is read.
    """

    hub = HUB
    has_cursor = False

    def __init__(
        self,
        folder: Path,
        limits: DiskLimits | None = None,
        explain: Explain = lambda _: None,
    ) -> None:
        """Raises:
        FolderError: the path cannot be written down.
        """
        self._folder = folder.resolve()
        self._limits = limits or DiskLimits()
        self._explain = explain
        if why := why_not_stored(self._folder):
            raise FolderError(self._folder, why)

    @staticmethod
    def takes(address: str) -> bool:
        """Whether an address is a folder here."""
        return is_folder(Path(address))

    @property
    def endpoint(self) -> str:
        return str(self._folder)

    def list_adapters(
        self,
        updated_since: datetime | None = None,
        remembered: Mapping[str, Remembered] | None = None,
    ) -> Iterator[Listed]:
        """Yield every file: moved ones first, then by their time, the oldest first.

        Only what is not as `remembered` is read, and hashed only where its bytes may have
        changed, or have been here under another name. Times say little of a folder: files are
        moved in with old ones. So `updated_since` is not looked at.

        Raises:
            SourceError: there is no such folder.
        """
        if not is_folder(self._folder):
            raise FolderError(self._folder, "it is not there, or no folder")
        tree = Tree.of(self._folder)
        for path, problem in unreadable(tree):
            if path == self._folder:
                raise FolderError(self._folder, problem)
            repo = shown(repo_of(tree.name(path), self._folder))
            # A link that leads to nothing, or what is not mounted, may be a folder.
            yield Refusal(HUB, repo, problem, is_folder=path.suffix.lower() != SUFFIX)
        for path in find_pickles(tree):
            reason = self._explain(path) or BY_ANOTHER_NAME
            yield Refusal(HUB, shown(f"{self._folder.name}/{tree.name(path)}"), reason)
        yield from self._compare(tree, remembered or {})

    def wants(self, record: AdapterRecord) -> bool:
        """All of it: what somebody keeps is no crawl's to choose from."""
        return True

    def would_list(self, record: AdapterRecord) -> bool:
        return True

    def download(self, record: AdapterRecord, target: Path) -> HashedFile:
        """Copy the record's file into a folder of its own below `target`.

        Its hash is the copy's, whatever was listed.

        Raises:
            FileTooLargeError, NoRoomError: it may not be had here.
            DownloadError: it has gone, has changed since it was listed, or cannot be copied.
        """
        source = self._find(record)
        size = record.file.size or 0
        self._limits.check_size(record.file.name, size)
        # A folder that no other process has, and a name that any file system takes.
        path = target / f"copy-{uuid4().hex}" / f"adapter{SUFFIX}"
        try:
            path.parent.mkdir(parents=True)
            self._limits.check_room(record.file.name, path.parent, size)
            shutil.copyfile(source, path)
            copied = HashedFile.of(path)
            if record.stamp and not stamp_of(source.stat(), "").is_file_of(record.stamp):
                raise DownloadError(
                    f"{source} has changed since it was listed; the next refresh takes it as it is"
                )
        except OSError as error:
            shutil.rmtree(path.parent, ignore_errors=True)
            raise DownloadError(f"{source} cannot be copied: {error.strerror or error}") from error
        except DownloadError:
            shutil.rmtree(path.parent)
            raise
        return copied

    def read_header(self, record: AdapterRecord) -> RemoteHeader:
        """Return the start of the record's file: what it shows to be a whole model is not copied.

        Raises:
            DownloadError: it has gone, or cannot be read.
        """
        source = self._find(record)
        try:
            with source.open("rb") as file:
                start = file.read(8)
                length = int.from_bytes(start, "little")
                data = start + file.read(min(length, MAX_HEADER_BYTES))
                return RemoteHeader(data, os.fstat(file.fileno()).st_size)
        except OSError as error:
            raise DownloadError(f"{source} cannot be read: {error.strerror or error}") from error

    def fetch_cover(self, cover: CoverRecord) -> bytes:
        """Return the bytes of a picture beside a file.

        Raises:
            SourceError: it is not inside the folder, too large, or unreadable.
        """
        path = Path(unquote(urlsplit(cover.url).path))
        try:
            if not may_show(path, self._folder):
                raise SourceError(f"the picture {path} lies outside of {self._folder}")
            if path.stat().st_size > MAX_BYTES:
                raise SourceError(f"the picture {path.name} is larger than 32 MB")
            return path.read_bytes()
        except OSError as error:
            cause = error.strerror or error
            raise SourceError(f"the picture {path.name}: {cause}", retryable=True) from error

    def close(self) -> None:
        """Nothing is held open."""

    def _find(self, record: AdapterRecord) -> Path:
        path = self._folder / record.file.name
        if ".." in path.parts or not path.is_relative_to(self._folder):
            raise DownloadError(f"{record.file.name} leads out of {self._folder}; not copied")
        if not path.is_file():
            raise DownloadError(f"{path} is no longer there")
        return path

    def _compare(self, tree: Tree, before: Mapping[str, Remembered]) -> Iterator[Listed]:
        found = tree.files()
        coming = {name: why for name, file in found.items() if (why := tree.why_unfinished(file))}
        for name, reason in coming.items():
            yield Refusal(HUB, repo_of(found.pop(name).name, self._folder), reason)
        moved = find_moved(found, before)
        for name, old in out_before_in(moved):
            yield from self._read(found[name], before[old].sha256, tree, moved_from=old)
        vanished = Vanished(
            before.keys() - found.keys() - coming.keys() - set(moved.values()), before
        )
        for file in sorted(found.values(), key=lambda file: (file.stamp.mtime_ns, file.name)):
            kept = before.get(file.name)
            if file.name in moved:
                continue
            if kept and kept.stamp == file.stamp and not kept.is_gone:
                yield Unchanged(file.name)
                continue
            try:
                sha256 = _hash_if_needed(file, kept, vanished)
            except OSError as error:
                reason = f"cannot be read: {error.strerror or error}"
                yield Refusal(HUB, repo_of(file.name, self._folder), reason)
                continue
            is_known = kept is not None and kept.sha256 == sha256
            # Bytes that were here before stay the adapter that they are.
            old_name = vanished.take(sha256) if sha256 and not is_known else None
            yield from self._read(file, sha256, tree, moved_from=old_name)

    def _read(
        self, file: FoundFile, sha256: str | None, tree: Tree, moved_from: str | None
    ) -> Iterator[Listed]:
        """Yield a file's record and what is wrong beside it, or why it has none."""
        repo = repo_of(file.name, self._folder)
        try:
            description = describe(file, sha256, tree)
        except (SourceError, OSError, ValueError) as error:
            yield Refusal(HUB, repo, self._explain(file.entry.path) or str(error))
            return
        record = description.record
        yield record if moved_from is None else Moved(moved_from, record)
        yield from (Refusal(HUB, repo, problem) for problem in description.problems)


def _hash_if_needed(file: FoundFile, kept: Remembered | None, vanished: Vanished) -> str | None:
    """Return the hash that a file is known to have, or has if it may be one that is known.

    None of a file that is new: it is hashed when it is copied.
    """
    if kept and kept.stamp and kept.stamp.is_file_of(file.stamp):
        return kept.sha256
    if kept or vanished.may_hold(file.stamp.size):
        return hash_file(file.entry.path)
    return None
