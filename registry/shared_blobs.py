"""Blobs that several machines share, in an S3 or what else obstore reaches."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import obstore
from obstore.exceptions import BaseError, GenericError
from obstore.store import from_url

from crawler import foreign_text
from crawler.disk import DiskLimits
from crawler.hashed_file import HashedFile
from registry.blobs import CHUNK_BYTES, BlobStore
from registry.errors import BlobMismatchError, BlobNotFoundError, BlobStoreError
from registry.local_copies import mark_used

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore

# Of what an object store says, one line is enough: obstore adds a dump of its source.
MOST_SAID = 300
TRUE = ("1", "true", "on", "yes", "y")
# The largest file comes in this time over a line of 100 KB a second; obstore would cut it after
# three minutes, however steadily it comes.
LONGEST_FETCH = timedelta(days=1)
# What falls silent for so long is asked for again, from where it stopped.
MOST_SILENCE = timedelta(seconds=30)
# A part of 5 MB is sent in this time where 16 of them share a line of 280 KB a second: two each of
# so many files as are downloaded at once.
MOST_SENDING = timedelta(minutes=5)
PARTS_AT_ONCE = 2
# A request's signature counts for 15 minutes [1], also when it is sent again.
# - [1] https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
MOST_SENDING_AGAIN = timedelta(minutes=10)
# What may be said of connections in the environment, as in AWS_ALLOW_HTTP [1].
# - [1] https://docs.rs/object_store/latest/object_store/enum.ClientConfigKey.html
CLOUDS = ("AWS", "AZURE", "GOOGLE")
CONNECTION_OPTIONS = (
    "allow_http",
    "allow_invalid_certificates",
    "connect_timeout",
    "default_content_type",
    "http1_only",
    "http2_keep_alive_interval",
    "http2_keep_alive_timeout",
    "http2_keep_alive_while_idle",
    "http2_max_frame_size",
    "http2_only",
    "pool_idle_timeout",
    "pool_max_idle_per_host",
    "proxy_ca_certificate",
    "proxy_excludes",
    "proxy_url",
    "randomize_addresses",
    "user_agent",
)


class SharedBlobStore(BlobStore):
    """Blobs at a URL such as `s3://bucket/folder`, with a folder here for those in use.

    What is stored is there when a method returns; what is asked for and not here is fetched, and
    compared with its hash. Keys and the endpoint are those of the environment (AWS_ACCESS_KEY_ID,
    AWS_ENDPOINT_URL…). The folder here may be emptied at any time, as `local_copies` does.
    """

    def __init__(self, root: Path, url: str, limits: DiskLimits | None = None) -> None:
        """Raises:
        BlobStoreError: nothing here reaches such a URL.
        """
        super().__init__(root, limits)
        self._url = url
        with self._told():
            # For questions, whose answers are short.
            self._remote = from_url(url)
            self._fetched_from = _open_for_long(
                url, LONGEST_FETCH, timeout=LONGEST_FETCH, read_timeout=MOST_SILENCE
            )
            self._sent_to = _open_for_long(url, MOST_SENDING_AGAIN, timeout=MOST_SENDING)

    def put_file(
        self, file: Path | HashedFile, *, expected: str | None = None, move: bool = False
    ) -> str:
        """As in a folder; raises BlobStoreError too."""
        sha256 = super().put_file(file, expected=expected, move=move)
        self._send(sha256)
        return sha256

    def put_bytes(self, data: bytes, *, expected: str | None = None) -> str:
        """As in a folder; raises BlobStoreError too."""
        sha256 = super().put_bytes(data, expected=expected)
        self._send(sha256)
        return sha256

    def path(self, sha256: str) -> Path:
        """Where a blob of this hash lies here, once it is fetched; or would lie."""
        place = self._place(sha256)
        if not mark_used(place) and self.exists(sha256):
            self._fetch(sha256)
        return place

    def exists(self, sha256: str) -> bool:
        """Whether others can have it; what is only here counts for nothing."""
        return self.size(sha256) is not None

    def size(self, sha256: str) -> int | None:
        """As others can have it."""
        with self._told():
            try:
                return int(obstore.head(self._remote, self._key(sha256))["size"])
            except FileNotFoundError:
                return None

    def share(self, sha256: str) -> int | None:
        """As in a folder: what is only here, as after a send that failed, is sent.

        Raises BlobStoreError too.
        """
        size = self.size(sha256)
        place = self._place(sha256)
        if size is not None or not mark_used(place):
            return size
        try:
            self.put_file(place, expected=sha256)
        except BlobMismatchError:
            # A broken disk's.
            place.unlink(missing_ok=True)
        return self.size(sha256)

    def discard_cut(self, sha256: str, size: int | None) -> bool:
        """As in a folder, of what others can have."""
        place = self._place(sha256)
        with suppress(FileNotFoundError):
            here = place.stat().st_size
            if not here or size not in (None, here):
                place.unlink()
        shared = self.size(sha256)
        if shared and size in (None, shared):
            return False
        if shared is not None:
            self.discard(sha256)
        return True

    def discard(self, sha256: str) -> None:
        """As in a folder, for all who share it."""
        super().discard(sha256)
        with self._told(), suppress(FileNotFoundError):
            obstore.delete(self._remote, self._key(sha256))

    def open(self, sha256: str) -> BinaryIO:
        self.path(sha256)
        return super().open(sha256)

    def _send(self, sha256: str) -> None:
        place = self._place(sha256)
        # It may have been here for long, or have come with the time of a download.
        mark_used(place)
        if self.size(sha256) != place.stat().st_size:
            with self._told():
                # Whole or not at all: a larger one is sent in parts and put together at the end.
                obstore.put(self._sent_to, self._key(sha256), place, max_concurrency=PARTS_AT_ONCE)

    def _fetch(self, sha256: str) -> None:
        with self._told():
            try:
                found = obstore.get(self._fetched_from, self._key(sha256))
            except FileNotFoundError as error:
                raise BlobNotFoundError(sha256) from error
            chunks = (bytes(chunk) for chunk in found.stream(min_chunk_size=CHUNK_BYTES))
            self._write(chunks, sha256, sha256)

    def _key(self, sha256: str) -> str:
        return self._place(sha256).relative_to(self.root).as_posix()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say of which store an error is, in one line."""
        try:
            yield
        except (BaseError, ValueError, OSError) as error:
            said = foreign_text.one_line(str(error).partition("Debug source")[0])[:MOST_SAID]
            if isinstance(error, GenericError) and _may_not_ask():
                said += "; an endpoint that begins with http:// wants AWS_ALLOW_HTTP=true"
            raise BlobStoreError(self._url, said) from error


def _open_for_long(url: str, retry_timeout: timedelta, **limits: timedelta) -> "ObjectStore":
    """Open a store whose answers may take long."""
    # Whatever is given here replaces all that the environment says.
    options = cast("ClientConfig", _said_of_connections() | limits)
    return from_url(url, client_options=options, retry_config={"retry_timeout": retry_timeout})


def _said_of_connections() -> dict[str, str]:
    names = {
        f"{cloud}_{option.upper()}": option for cloud in CLOUDS for option in CONNECTION_OPTIONS
    }
    return {option: os.environ[name] for name, option in names.items() if name in os.environ}


def _may_not_ask() -> bool:
    """Whether the endpoint is one that obstore does not dare to ask; its errors do not say so.

    What counts as true is what object_store takes for that [1].

    - [1] https://docs.rs/object_store/latest/src/object_store/config.rs.html
    """
    endpoint = os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT", "")
    allowed = os.environ.get("AWS_ALLOW_HTTP", "").lower() in TRUE
    return endpoint.lower().startswith("http://") and not allowed
