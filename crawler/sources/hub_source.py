"""What the sources of all hubs have in common: one endpoint, its filters, and how files come."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self
from urllib.parse import urlsplit

from crawler.disk import DiskLimits
from crawler.download import check_announced, place
from crawler.filters import Filters
from crawler.hashed_file import HashedFile
from crawler.records import AdapterRecord, CoverRecord, RemoteHeader
from crawler.sources.hub_client import HubClient


class HubSource(ABC):
    """Fetches the LoRAs of one endpoint; a hub's own class says how they are listed."""

    hub: ClassVar[str]
    has_cursor = True
    # The hub's own sites, without "www.".
    sites: ClassVar[Collection[str]]

    def __init__(
        self, client: HubClient, name: str | None, limits: DiskLimits | None, filters: Filters
    ) -> None:
        """`name` stands for the endpoint where its address changes, as on loopback."""
        self.endpoint = name or client.endpoint
        self._client = client
        self._limits = limits or DiskLimits()
        self._filters = filters

    @classmethod
    def takes(cls, address: str) -> bool:
        """Whether an address is one of the hub's own sites."""
        parts = urlsplit(address)
        return parts.scheme == "https" and (parts.hostname or "").removeprefix("www.") in cls.sites

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def wants(self, record: AdapterRecord) -> bool:
        return self._filters.wants(record)

    def would_list(self, record: AdapterRecord) -> bool:
        return self.wants(record)

    def read_header(self, record: AdapterRecord) -> RemoteHeader:
        """Return the start of the record's file: enough to tell what it is.

        Raises:
            DownloadError: it may not be had, or is not the size that was announced.
            SourceError: the hub is down, or does not give it.
        """
        header = self._client.read_header(self.file_address(record))
        check_announced(record, header)
        return header

    def download(self, record: AdapterRecord, target: Path) -> HashedFile:
        """Fetch the record's file into a folder of its own below `target`; return which it is.

        Raises:
            DownloadError: the file cannot be had, or is not what was announced.
            SourceError: the hub is down, or does not give the file.
        """
        address, path = self.file_address(record), place(record, target)
        return self._client.download(address, record, path, self._limits)

    def fetch_cover(self, cover: CoverRecord) -> bytes:
        """Return the bytes behind a cover's url; raises `SourceError`."""
        return self._client.fetch(cover.url)

    @abstractmethod
    def file_address(self, record: AdapterRecord) -> str:
        """Return where the record's file is, below the endpoint.

        Raises:
            DownloadError: it may not be had.
        """
