"""What a hub says about an adapter: the types that the crawler hands on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

from crawler.hashed_file import HashedFile


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file of a repository. `name` is its path there and is not safe to use as ours.

    `peft_config` is the adapter_config.json beside it, as written: its alpha is nowhere else.
    """

    name: str
    size: int | None
    sha256: str | None
    revision: str = "master"
    peft_config: str = ""


@dataclass(frozen=True, slots=True)
class CoverRecord:
    """An image shown for an adapter, and the prompt it was made with."""

    url: str
    prompt: str | None


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a folder's entries say of a file, by which it is known again without being read.

    The time of the entry's last change tells of edits that set the time of the file back.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    # Tells a file that was renamed. FAT and file systems of programs (FUSE) make it up anew
    # whenever they are mounted, so under the same name it says nothing.
    inode: int = field(compare=False)
    # The same of the sidecars and pictures that belong to it, as a hash; "" reads them again.
    beside: str

    @property
    def content(self) -> tuple[int, int, int]:
        """What stays the same when a file is renamed."""
        return self.size, self.mtime_ns, self.inode

    def is_file_of(self, other: "Stamp") -> bool:
        """Whether nothing happened to the file, whatever happened beside it."""
        ours = self.size, self.mtime_ns, self.ctime_ns
        return ours == (other.size, other.mtime_ns, other.ctime_ns)


@dataclass(frozen=True, slots=True)
class AdapterRecord:
    """One LoRA file as its hub describes it.

    `repo` is "owner/name"; `version` is the hub's id of a version inside it, "" where there
    is none. `base_model_words` are what the hub says that it loads into, as written and the
    most exact first. Times are UTC; `updated_at` is the cursor to go on from. `strength` is
    what its author or owner prefers, `negative_prompt` what they pair it with.
    """

    hub: str
    repo: str
    version: str
    name: str
    author: str
    description: str
    trigger_words: tuple[str, ...]
    tags: tuple[str, ...]
    base_model_words: tuple[str, ...]
    licence: str | None
    mature: bool | None
    downloads: int
    created_at: datetime
    updated_at: datetime
    file: FileRecord
    covers: tuple[CoverRecord, ...]
    page_url: str
    strength: float | None = None
    negative_prompt: str = ""
    # Of sources that remember what they listed.
    stamp: Stamp | None = None
    # Why its file cannot be had, in words; "" where it can. Until when, where that is known.
    withheld: str = ""
    withheld_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something listed that gives no record or a lesser one, and why.

    `repo` is that of an adapter or of a folder with adapters, "" for the listing itself.
    """

    hub: str
    repo: str
    reason: str
    # When it changed, of one that may be read the next time: a cursor behind it would lose it.
    again_from: datetime | None = None
    # Whether it was read, and has no adapter: what was listed of it before is gone.
    is_empty: bool = False
    # Whether `repo` may be a folder, so that nothing is known of the adapters in it.
    is_folder: bool = False


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A file that is as it was when it was listed before."""

    file_name: str


@dataclass(frozen=True, slots=True)
class Moved:
    """A file that was listed before under another name, and how it is described now."""

    from_name: str
    record: AdapterRecord


Listed = AdapterRecord | Refusal | Unchanged | Moved


@dataclass(frozen=True, slots=True)
class Remembered:
    """What was kept of a file when it was listed; `is_gone` if it has vanished since.

    Without a stamp nothing of the file is believed to be as it was. Of a hub's repository only
    `updated_at` is known, the time that it was listed with.
    """

    sha256: str | None
    stamp: Stamp | None
    is_gone: bool = False
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RemoteHeader:
    """The start of a file that may be safetensors, nothing of it believed yet."""

    data: bytes  # to the end of the header, if there is one
    size: int  # of the whole file, as the server says
    sha256: str | None = None  # of the whole file, where the server says so by an ETag


@runtime_checkable
class HeaderSource(Protocol):
    """A hub that shows the header of a file before all of it is fetched."""

    def read_header(self, record: AdapterRecord) -> RemoteHeader:
        """Return the start of the record's file.

        Raises:
            DownloadError: it may not be had, or is not the size that was announced.
            SourceError: the hub is down, or does not give it.
        """
        ...


@runtime_checkable
class SweptSource(Protocol):
    """A hub whose listing by date hides some changes: what is known is looked at again, slowly."""

    def list_again(self, repos: Sequence[str]) -> Iterator[Listed]:
        """Yield what the hub says by now of repositories that it listed before.

        Raises:
            SourceError: the hub is down.
        """
        ...


class Source(Protocol):
    """A hub: cursor in, records out. Sources never see the database."""

    @property
    def hub(self) -> str:
        """Name of the hub, as in `AdapterRecord.hub`."""
        ...

    @property
    def endpoint(self) -> str:
        """Which of the hub's addresses, or which folder: what is listed there is told apart."""
        ...

    @property
    def has_cursor(self) -> bool:
        """Whether it can list what changed since a date.

        If not, each listing is of all that there is, and goes by what it listed before.
        """
        ...

    def wants(self, record: AdapterRecord) -> bool:
        """Whether such an adapter is among those that it was asked to list."""
        ...

    def would_list(self, record: AdapterRecord) -> bool:
        """Whether it is, and the hub's own filters know it for one: else it has not vanished."""
        ...

    def list_adapters(
        self,
        updated_since: datetime | None = None,
        remembered: Mapping[str, Remembered] | None = None,
    ) -> Iterator[Listed]:
        """Yield what changed at or after `updated_since`, oldest change first.

        So the last record's `updated_at` is a safe cursor: stop anywhere, resume there.
        Records at the seam come twice; storing them by their hub's ids makes that harmless.

        A source without a cursor yields all of its files, those that are as `remembered` (by
        file name) as `Unchanged`, and first of all what `Moved` as a whole. One with a cursor may
        also yield what it lists late, behind `updated_since`: there, `remembered` are the
        repositories (by name) that were listed already.

        Raises:
            SourceError: the hub is down or no longer speaks as we know it.
        """
        ...

    def download(self, record: AdapterRecord, target: Path) -> HashedFile:
        """Fetch the record's file into the folder `target`, verified; return which it is.

        A transfer that was cut is resumed when called again with the same `target`.

        Raises:
            DownloadError: the file cannot be had, or is not what was announced.
            SourceError: the hub is down.
        """
        ...

    def fetch_cover(self, cover: CoverRecord) -> bytes:
        """Return the bytes behind a cover, not yet known to be an image.

        Raises:
            SourceError: the cover cannot be had.
        """
        ...

    def close(self) -> None:
        """Give back connections."""
        ...
