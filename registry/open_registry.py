"""What is open of a registry: its database, its files, and what searches them."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Self

from sqlalchemy.orm import Session, sessionmaker

from encoder.text_encoder import TextEncoder
from registry.blobs import BlobStore, make_private
from registry.config import Settings
from registry.db.session import one_line_errors, open_database
from registry.errors import BlobStoreError
from registry.retrieval.finder import Finder
from registry.text.cached_encoder import load_cached_text_encoder


class OpenRegistry:
    """Opens each thing when it is first needed, and gives all of it back at once.

    Safe to share between threads. Close it, or use it as a context manager: the embedded
    PostgreSQL may stop with its last user.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._stack = ExitStack()
        # Reentrant, because opening one thing may open another.
        self._lock = threading.RLock()
        self._sessions: sessionmaker[Session] | None = None
        self._blobs: BlobStore | None = None
        self._finder: Finder | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back what is open."""
        with self._lock:
            self._sessions = self._finder = None
            self._stack.close()

    @property
    def sessions(self) -> sessionmaker[Session]:
        """Sessions on the database, which is started and migrated on first use."""
        with self._lock:
            if self._sessions is None:
                self._sessions = self._stack.enter_context(open_database(self.settings))
            return self._sessions

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Give a session whose work is committed at the end.

        Raises:
            DatabaseError: the database cannot be opened, or does not do what it is asked.
        """
        with one_line_errors(), self.sessions.begin() as session:
            yield session

    @property
    def blobs(self) -> BlobStore:
        with self._lock:
            if self._blobs is None:
                # Before anybody puts a file there: all that lies below is private with it.
                make_private(self.settings.home)
                self._blobs = open_blobs(self.settings)
            return self._blobs

    @property
    def finder(self) -> Finder:
        """What answers questions about adapters; it keeps the encoders that it has loaded."""
        with self._lock:
            if self._finder is None:
                self._finder = Finder(self.settings, self.sessions, self.blobs, self.text_encoder)
            return self._finder

    @property
    def text_encoder(self) -> TextEncoder:
        return load_cached_text_encoder(self.settings.text_encoder)


def open_blobs(settings: Settings) -> BlobStore:
    """Open the blob store of the settings, which is not asked anything yet.

    Raises:
        BlobStoreError: nothing here reaches what REGISTRY_BLOBS_URL names.
    """
    if settings.blobs_url is None:
        return BlobStore(settings.blobs, settings.disk_limits)
    try:
        from registry.shared_blobs import SharedBlobStore
    except ModuleNotFoundError as error:
        missing = "obstore is not installed here; `pip install 'autolora-registry[s3]'`"
        raise BlobStoreError(settings.blobs_url, missing) from error
    return SharedBlobStore(settings.blobs, settings.blobs_url, settings.disk_limits)
