"""What a command works on: opened when it first asks, closed when the command ends."""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import typer

from registry.cli.errors import report

if TYPE_CHECKING:
    from collections.abc import Callable

    from registry.client import Client
    from registry.config import Settings
    from registry.fusion.maker import Maker
    from registry.reader import ClientFinder, Drawer, Reader
    from registry.service import Registry


def settings_of(context: typer.Context) -> "Settings":
    """Return the settings, with what the options before the command say."""
    from registry.config import Settings

    settings = Settings()
    local = bool(context.find_root().params.get("local"))
    return settings.model_copy(update={"local": True}) if local else settings


def tell_home(settings: "Settings", own_url: str | None = None) -> None:
    """Say which home a command works on, where REGISTRY_URL names a registry elsewhere.

    `own_url` is where that home is served, if it is; else its own server says so.
    """
    from crawler.addresses import without_login
    from registry.running import find_server

    if settings.url is None or settings.local:
        return
    server = find_server(settings.home) if own_url is None else None
    own_url = server.url if server is not None else own_url
    if own_url is None or _host_and_port(own_url) != _host_and_port(settings.url):
        report(
            f"this works on the home {settings.home}, not on the registry at "
            f"{without_login(settings.url)} (REGISTRY_URL); `--local` before the command says that "
            "this is meant."
        )


def open_registry(context: typer.Context, *, tells_home: bool = True) -> "Registry":
    """Open this machine's own registry, and say so where REGISTRY_URL names another.

    What asks nothing of the home leaves that out.
    """
    from registry.service import Registry

    if not isinstance(context.obj, Registry):
        settings = settings_of(context)
        if tells_home:
            tell_home(settings)
        registry = Registry(settings)
        context.call_on_close(registry.close)
        context.obj = registry
    return context.obj


def open_reader(context: typer.Context) -> "Reader":
    """Open what answers questions: a server that runs already, or else our own registry."""
    client = _find_client(context)
    if client is not None:
        return client
    from registry.local import LocalReader

    return LocalReader(open_registry(context))


def open_drawer(context: typer.Context) -> "Drawer":
    """Open what makes images: a server that runs already, or else `open_maker`."""
    from registry.reader import draws_here

    client = None if draws_here(settings_of(context)) else _find_client(context)
    return client or open_maker(context)


def reader_finder(context: typer.Context) -> "Callable[[], Reader]":
    """Return what finds who answers now, as `open_reader` does, for a command that goes on."""
    from registry.local import LocalReader

    clients = _client_finder(context)
    here = LocalReader(open_registry(context, tells_home=False))
    return lambda: clients.find() or here


def drawer_finder(context: typer.Context) -> "Callable[[], Drawer]":
    """Return what finds who draws now, as `open_drawer` does, for a command that goes on."""
    from registry.reader import draws_here

    here = open_maker(context)
    if draws_here(settings_of(context)):
        return lambda: here
    clients = _client_finder(context)
    return lambda: clients.find() or here


def open_maker(context: typer.Context) -> "Maker":
    """Open what makes images here, with adapters of REGISTRY_URL if that is set, or our own."""
    settings = settings_of(context)
    if settings.url is None or settings.local:
        return open_registry(context).maker
    from registry.remote import RemoteRegistry

    remote = RemoteRegistry(settings)
    context.call_on_close(remote.close)
    return remote.maker


def _find_client(context: typer.Context) -> "Client | None":
    from registry.reader import find_client

    client = find_client(settings_of(context))
    if client is not None:
        context.call_on_close(client.close)
    return client


def _client_finder(context: typer.Context) -> "ClientFinder":
    from registry.reader import ClientFinder

    finder = ClientFinder(settings_of(context))
    context.call_on_close(finder.close)
    return finder


def _host_and_port(url: str) -> tuple[str | None, int]:
    parts = urlsplit(url)
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
    return host, parts.port or (443 if parts.scheme == "https" else 80)
