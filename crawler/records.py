"""What a hub says about an adapter: the types that the crawler hands on."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol


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
class AdapterRecord:
    """One LoRA file as its hub describes it.

    `repo` is "owner/name"; `version` is the hub's id of a version inside it, "" where there
    is none. `base_model_words` are what the hub says that it loads into, as written and the
    most exact first. Times are UTC; `updated_at` is the cursor to go on from.
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


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something listed that gives no record, and why. `repo` is "" for the listing itself."""

    hub: str
    repo: str
    reason: str


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

    def list_adapters(
        self, updated_since: datetime | None = None
    ) -> Iterator[AdapterRecord | Refusal]:
        """Yield what changed at or after `updated_since`, oldest change first.

        So the last record's `updated_at` is a safe cursor: stop anywhere, resume there.
        Records at the seam come twice; storing them by their hub's ids makes that harmless.

        Raises:
            SourceError: the hub is down or no longer speaks as we know it.
        """
        ...

    def download(self, record: AdapterRecord, target: Path) -> Path:
        """Fetch the record's file into the folder `target`, verified; return where it is.

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
