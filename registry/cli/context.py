"""What a command works on: opened when it first asks, closed when the command ends."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from registry.fusion.maker import Maker
    from registry.service import Registry


def open_registry(context: typer.Context) -> "Registry":
    """Open this machine's own registry."""
    from registry.service import Registry

    if not isinstance(context.obj, Registry):
        registry = Registry()
        context.call_on_close(registry.close)
        context.obj = registry
    return context.obj


def open_maker(context: typer.Context) -> "Maker":
    """Open what makes images: the registry at REGISTRY_URL if that is set, or our own."""
    from registry.config import Settings

    settings = Settings()
    if settings.url is None:
        return open_registry(context).maker
    from registry.remote import RemoteRegistry

    remote = RemoteRegistry(settings)
    context.call_on_close(remote.close)
    return remote.maker
