"""Who answers questions about adapters: this process, or a server that runs already."""

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self, Unpack

from registry.config import Settings
from registry.running import RunningServer, find_server

if TYPE_CHECKING:
    from PIL.Image import Image

    from registry.api.schemas.adapters import AdapterDetailAnswer, AdapterListAnswer
    from registry.api.schemas.found import (
        DuplicateListAnswer,
        FacetsAnswer,
        SearchAnswer,
        SimilarAnswer,
    )
    from registry.api.schemas.fuse import ChoiceAnswer
    from registry.api.schemas.picture import PictureAnswer
    from registry.api.schemas.service import NightListAnswer, RunListAnswer, StatusAnswer
    from registry.client import Client
    from registry.fusion.fused_image import FusedImage
    from registry.fusion.options import CompareOptions, FuseOptions, GridOptions, StepCallback
    from registry.fusion.recipe import Recipe
    from registry.retrieval.terms import FilterOptions, FoundSort, Maturity, Sort, State


class Reader(Protocol):
    """Answers what is asked of adapters; `registry.Client` does over HTTP, `LocalReader` here."""

    def search(
        self,
        text: str = "",
        limit: int = 10,
        *,
        cursor: str | None = None,
        like: Sequence[int] | int = (),
        unlike: Sequence[int] | int = (),
        unlike_text: str = "",
        sort: "FoundSort" = "relevance",
        seed: int = 0,
        **filters: Unpack["FilterOptions"],
    ) -> "SearchAnswer":
        """Return up to `limit` adapters that suit `text`, in English or Chinese, best first."""
        ...

    def search_picture(
        self, picture: Path | str | bytes, limit: int = 10, **filters: Unpack["FilterOptions"]
    ) -> "PictureAnswer":
        """Return up to `limit` adapters that a picture was made with, or that made one like it."""
        ...

    def list(
        self,
        sort: "Sort" = "newest",
        limit: int = 50,
        *,
        cursor: str | None = None,
        seed: int = 0,
        state: "State" = "ready",
        **filters: Unpack["FilterOptions"],
    ) -> "AdapterListAnswer":
        """Return a page of all adapters; its `next` is the next page's cursor."""
        ...

    def facets(self, **filters: Unpack["FilterOptions"]) -> "FacetsAnswer":
        """Return how many adapters there are of every value to filter by."""
        ...

    def show(self, adapter_id: int) -> "AdapterDetailAnswer":
        """Return all that is known of an adapter."""
        ...

    def similar(
        self,
        adapter_id: int,
        limit: int = 10,
        *,
        cursor: str | None = None,
        sort: "FoundSort" = "relevance",
        seed: int = 0,
        mature: "Maturity" = "any",
    ) -> "SimilarAnswer":
        """Return adapters of the same family, those with the most similar weights first."""
        ...

    def duplicates(
        self,
        adapter_id: int,
        limit: int = 10,
        *,
        cursor: str | None = None,
        sort: "FoundSort" = "relevance",
        seed: int = 0,
    ) -> "DuplicateListAnswer":
        """Return adapters that are this one again."""
        ...

    def choose(
        self,
        prompt: str,
        k: int = 3,
        *,
        base_model: str | None = None,
        mature: "Maturity" = "any",
    ) -> "Sequence[ChoiceAnswer]":
        """Return up to `k` adapters to draw `prompt` with: one for each thing that it names."""
        ...

    def status(self) -> "StatusAnswer":
        """Return what is here, what was refused, what waits, and who works."""
        ...

    def runs(self, limit: int = 20, *, cursor: str | None = None) -> "RunListAnswer":
        """Return a page of refreshes, newest first."""
        ...

    def nights(self, limit: int = 20, *, cursor: str | None = None) -> "NightListAnswer":
        """Return a page of nightly refreshes, newest first."""
        ...

    def download(self, adapter_id: int, folder: Path | str = ".") -> Path:
        """Save an adapter's file in `folder` under its own name, and return its path."""
        ...

    def pack(self, recipe: "Recipe", target: Path | str) -> Path:
        """Save a zip of the files of a recipe's adapters, named as exports name them."""
        ...


class Drawer(Protocol):
    """Makes images; `registry.Client` has them made over HTTP, a `Maker` makes them here."""

    def fuse(self, prompt: str, **options: Unpack["FuseOptions"]) -> "FusedImage":
        """Draw `prompt` with up to `k` adapters found for it, or with those named by id."""
        ...

    def grid(
        self, prompt: str, adapters: Sequence[int], **options: Unpack["GridOptions"]
    ) -> "Image":
        """Draw every pair of `adapters` fused, and each of them alone, on one sheet."""
        ...

    def compare(self, prompt: str, **options: Unpack["CompareOptions"]) -> "Image":
        """Draw the base alone, each adapter alone, and all by every way of fusing, on one sheet."""
        ...

    def reproduce(self, recipe: "Recipe", progress: "StepCallback | None" = None) -> "FusedImage":
        """Draw the image of a recipe again."""
        ...


def draws_here(settings: Settings) -> bool:
    """Whether this machine draws with the adapters that the registry at REGISTRY_URL has.

    It does where it has base models; else that registry draws.
    """
    return settings.url is not None and bool(settings.base_models) and not settings.local


def find_client(settings: Settings) -> "Client | None":
    """Return a client of the registry at REGISTRY_URL, or of a server that runs on this home.

    None where there is neither, or `settings.local` asks for this process.
    """
    return _open_client(settings, _find_server(settings))


class ClientFinder:
    """Finds who answers for as long as a program lasts: servers come and go meanwhile.

    Safe to share between threads. Close it, or use it as a context manager.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._opened = ExitStack()
        self._client: Client | None = None
        self._instance: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._opened.close()

    def find(self) -> "Client | None":
        """Return what `find_client` does; the same client as long as the same server runs.

        One of before stays open, for who still waits for its answer.
        """
        with self._lock:
            server = _find_server(self._settings)
            instance = None if server is None else server.instance
            if self._client is None or instance != self._instance:
                client = _open_client(self._settings, server)
                self._client = client and self._opened.enter_context(client)
                self._instance = instance
            return self._client


def _find_server(settings: Settings) -> RunningServer | None:
    """Return the server that says it runs on this home, where REGISTRY_URL names none."""
    return None if settings.url is not None else find_server(settings.home)


def _open_client(settings: Settings, server: RunningServer | None) -> "Client | None":
    if settings.local or (settings.url is None and server is None):
        return None
    # Here, for it brings HTTP, which a search of this process does without.
    from registry.client import Client
    from registry.connection import RemoteError

    if server is None:
        token = settings.token.get_secret_value() if settings.token else None
        return Client(str(settings.url), token, limits=settings.disk_limits)
    # It is this machine, and what it is sent lets in as its owner: no proxy is to know that.
    client = Client(server.url, server.token, direct=True, limits=settings.disk_limits)
    try:
        if client.health().instance == server.instance:
            return client
    except RemoteError:
        # It was killed, and what it left says nothing: the question is answered here.
        pass
    client.close()
    return None
