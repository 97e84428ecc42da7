"""Find LoRA adapters by what they do, and make images with them.

    import registry

    page = registry.search("a fox in watercolour")
    registry.fuse("a fox in watercolour").image.save("fox.png")
    registry.Client("http://gpu-box:8000", token).search("a fox in watercolour")

The functions ask the registry at REGISTRY_URL, or a server that runs on this home, and answer in
this process where there is neither, or with REGISTRY_LOCAL=true; their answers are the same.

All raise `registry.AutoLoraError` for what is no bug; its text says what to do.

Importing this package loads neither torch nor a database: the first call does.
"""

import atexit
import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from crawler.errors import AutoLoraError

if TYPE_CHECKING:
    from registry.api.schemas.adapters import AdapterListAnswer
    from registry.api.schemas.found import SearchAnswer
    from registry.api.schemas.picture import PictureAnswer
    from registry.client import Client
    from registry.config import Settings
    from registry.fusion.fused_image import FusedImage
    from registry.fusion.options import FuseOptions
    from registry.reader import ClientFinder, Drawer, Reader
    from registry.remote import RemoteRegistry
    from registry.retrieval.terms import FilterOptions, FoundSort, Sort
    from registry.service import Registry

__all__ = ["AutoLoraError", "Client", "browse", "fuse", "search", "search_picture"]


def search(
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
    """Return up to `limit` adapters that suit `text`, in English or Chinese, best first.

    Filters are those of the page and of `autolora search`: `base_model="sdxl"`,
    `tag=["fox", "red"]`, `max_size="200MB"`.

    With `like` and `unlike`, ids of adapters, those that are like some and unlike others; then
    `text` may be left out. In another `sort`, as `browse` takes it, what fits or perhaps fits.
    """
    return _reader().search(
        text,
        limit,
        cursor=cursor,
        like=like,
        unlike=unlike,
        unlike_text=unlike_text,
        sort=sort,
        seed=seed,
        **filters,
    )


def browse(
    sort: "Sort" = "newest",
    cursor: str | None = None,
    limit: int = 50,
    *,
    seed: int = 0,
    **filters: Unpack["FilterOptions"],
) -> "AdapterListAnswer":
    """Return up to `limit` of all adapters that filters let through, in an order of choice.

    A page's `next` is the `cursor` of the one after it.
    """
    return _reader().list(sort, limit, cursor=cursor, seed=seed, **filters)


def search_picture(
    picture: Path | str | bytes, limit: int = 10, **filters: Unpack["FilterOptions"]
) -> "PictureAnswer":
    """Return up to `limit` adapters that a picture was made with, or that made one like it.

    A picture is a file's path, or its bytes; every result says how it was found.
    """
    return _reader().search_picture(picture, limit, **filters)


def fuse(prompt: str, **options: Unpack["FuseOptions"]) -> "FusedImage":
    """Draw `prompt` with up to `k` adapters found for it, or with those named by id.

    Options are those of `autolora fuse`: `adapters=[12, 7]` with `strengths=[1, 0.8]`,
    `base_model="sdxl"`, `negative="blurry"`, `seed=7`, `size=(768, 512)`, `mode="sum"`.
    """
    return _drawer().fuse(prompt, **options)


def __getattr__(name: str) -> object:
    """Load `Client` when it is first asked for."""
    if name == "Client":
        from registry.client import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# `cache` alone lets threads that ask at the same time make one each.
_making = threading.RLock()


@cache
def _opened() -> ExitStack:
    """What is open until the process ends."""
    opened = ExitStack()
    atexit.register(opened.close)
    return opened


@cache
def _settings() -> "Settings":
    """The environment's settings, as the first question found them."""
    from registry.config import Settings

    return Settings()


@cache
def _shared() -> "Registry":
    """This machine's own registry, one for the process."""
    from registry.service import Registry

    return _opened().enter_context(Registry(_settings()))


@cache
def _clients() -> "ClientFinder":
    from registry.reader import ClientFinder

    return _opened().enter_context(ClientFinder(_settings()))


def _client() -> "Client | None":
    """Who answers instead: the registry at REGISTRY_URL, or a server that runs on this home."""
    return _clients().find()


def _reader() -> "Reader":
    with _making:
        return _client() or _local()


@cache
def _local() -> "Reader":
    from registry.local import LocalReader

    return LocalReader(_shared())


def _drawer() -> "Drawer":
    """What makes images: this machine, where needed with adapters of REGISTRY_URL, or a server."""
    from registry.reader import draws_here

    with _making:
        if draws_here(_settings()):
            return _remote().maker
        return _client() or _shared().maker


@cache
def _remote() -> "RemoteRegistry":
    """The adapters of REGISTRY_URL, drawn with here."""
    from registry.remote import RemoteRegistry

    return _opened().enter_context(RemoteRegistry(_settings()))


def _begin_anew() -> None:
    """Open all again in a process that was forked: two on one connection take each other's answers.

    What was open is the parent's, and stays so.
    """
    global _making
    # A thread that had it is the parent's as well.
    _making = threading.RLock()
    if _opened.cache_info().currsize:
        import ctypes

        opened = _opened()
        atexit.unregister(opened.close)
        # To be collected, even at the process's end, would close it.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(opened))
    for each in (_opened, _shared, _clients, _local, _remote):
        each.cache_clear()


os.register_at_fork(after_in_child=_begin_anew)
