"""Find LoRA adapters by what they do, and make images with them.

    import registry

    page = registry.search("a fox in watercolour")
    registry.fuse("a fox in watercolour").image.save("fox.png")
    registry.Client("http://gpu-box:8000", token).search("a fox in watercolour")

All raise `registry.AutoLoraError` for what is no bug; its text says what to do.

Importing this package loads neither torch nor a database: the first call does.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from crawler.errors import AutoLoraError

if TYPE_CHECKING:
    from registry.client import Client
    from registry.fusion.generate import FusedImage
    from registry.fusion.maker import Maker
    from registry.fusion.options import Mode, Size, StepCallback
    from registry.retrieval.by_picture import PicturePage
    from registry.retrieval.results import BrowsePage, SearchPage
    from registry.retrieval.terms import FilterOptions, FoundSort, Sort
    from registry.service import Registry

__all__ = ["AutoLoraError", "Client", "browse", "fuse", "search", "search_picture"]


def search(
    text: str = "",
    limit: int = 10,
    *,
    cursor: str | None = None,
    like: Sequence[int] = (),
    unlike: Sequence[int] = (),
    unlike_text: str = "",
    sort: "FoundSort" = "relevance",
    seed: int = 0,
    **filters: Unpack["FilterOptions"],
) -> "SearchPage":
    """Return up to `limit` adapters that suit `text`, in English or Chinese, best first.

    Filters are those of the page and of `autolora search`: `base_model="sdxl"`,
    `tag=["fox", "red"]`, `max_size="200MB"`.

    With `like` and `unlike`, ids of adapters, those that are like some and unlike others; then
    `text` may be left out. In another `sort`, as `browse` takes it, what fits or perhaps fits.
    """
    from registry.retrieval.filter_options import make_filters
    from registry.retrieval.likeness import Likes

    return _shared().search(
        text,
        limit=limit,
        filters=make_filters(**filters),
        cursor=cursor,
        likes=Likes(tuple(like), tuple(unlike), unlike_text),
        sort=sort,
        seed=seed,
    )


def browse(
    sort: "Sort" = "newest",
    cursor: str | None = None,
    limit: int = 50,
    *,
    seed: int = 0,
    **filters: Unpack["FilterOptions"],
) -> "BrowsePage":
    """Return up to `limit` of all adapters that filters let through, in an order of choice.

    A page's `next` is the `cursor` of the one after it.
    """
    from registry.retrieval.filter_options import make_filters

    return _shared().browse(make_filters(**filters), sort, cursor, limit, seed=seed)


def search_picture(
    picture: Path | bytes, limit: int = 10, **filters: Unpack["FilterOptions"]
) -> "PicturePage":
    """Return up to `limit` adapters that a picture was made with, or that made one like it.

    A picture is a file's path, or its bytes; every result says how it was found.
    """
    from registry.retrieval.filter_options import make_filters

    return _shared().search_picture(picture, make_filters(**filters), limit)


def fuse(
    prompt: str,
    *,
    k: int = 3,
    adapters: Sequence[int] | None = None,
    strengths: Sequence[float] | None = None,
    base_model: str | None = None,
    seed: int = 0,
    steps: int | None = None,
    size: "Size | None" = None,
    mode: "Mode" = "gated",
    check: bool = True,
    progress: "StepCallback | None" = None,
) -> "FusedImage":
    """Draw `prompt` with up to `k` adapters found for it, or with those named by id."""
    return _maker().fuse(
        prompt,
        k=k,
        adapters=adapters,
        strengths=strengths,
        base_model=base_model,
        seed=seed,
        steps=steps,
        size=size,
        mode=mode,
        check=check,
        progress=progress,
    )


def __getattr__(name: str) -> object:
    """Load `Client` when it is first asked for."""
    if name == "Client":
        from registry.client import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _shared() -> "Registry":
    """One registry for the process, from the environment's settings."""
    import atexit

    from registry.service import Registry

    shared = Registry()
    atexit.register(shared.close)
    return shared


@cache
def _maker() -> "Maker":
    """What makes images for the process: the one at REGISTRY_URL if that is set, or our own."""
    from registry.config import Settings

    settings = Settings()
    if settings.url is None:
        return _shared().maker
    import atexit

    from registry.remote import RemoteRegistry

    remote = RemoteRegistry(settings)
    atexit.register(remote.close)
    return remote.maker
