"""Find LoRA adapters by what they do, and make images with them.

    import registry

    page = registry.search("a fox in watercolour")
    registry.fuse("a fox in watercolour").image.save("fox.png")

Both raise `registry.AutoLoraError` for what is no bug; its text says what to do.

Importing this package loads neither torch nor a database: the first call does.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from crawler.errors import AutoLoraError

if TYPE_CHECKING:
    from registry.fusion.generate import FusedImage
    from registry.fusion.maker import Maker
    from registry.fusion.options import Mode, Size, StepCallback
    from registry.retrieval.by_picture import PicturePage
    from registry.retrieval.results import SearchPage
    from registry.service import Registry

__all__ = ["AutoLoraError", "fuse", "search", "search_picture"]


def search(
    text: str = "",
    base_model: str | None = None,
    limit: int = 10,
    *,
    author: str | None = None,
    tags: Sequence[str] = (),
    licence: str | None = None,
    hub: str | None = None,
    nearest: bool = False,
    like: Sequence[int] = (),
    unlike: Sequence[int] = (),
    unlike_text: str = "",
) -> "SearchPage":
    """Return up to `limit` adapters that suit `text`, in English or Chinese, best first.

    None when nothing fits, unless the `nearest` are wanted all the same. With `like` and `unlike`,
    ids of adapters, those that are like some and unlike others; then `text` may be left out.
    """
    from registry.retrieval.likeness import Likes

    return _shared().search(
        text,
        base_model,
        limit,
        author=author,
        tags=tags,
        licence=licence,
        hub=hub,
        nearest=nearest,
        likes=Likes(tuple(like), tuple(unlike), unlike_text),
    )


def search_picture(
    picture: Path | bytes, base_model: str | None = None, limit: int = 10
) -> "PicturePage":
    """Return up to `limit` adapters that a picture was made with, or that made one like it.

    A picture is a file's path, or its bytes; every result says how it was found.
    """
    from registry.retrieval.filters import Filters

    filters = Filters(() if base_model is None else (base_model,))
    return _shared().search_picture(picture, filters, limit)


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
