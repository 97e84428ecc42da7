"""Whom commands and Python ask: a server that runs on the home, and how."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy.orm import Session, sessionmaker

from registry.api.app import create_app
from registry.config import Settings
from registry.reader import find_client
from registry.running import Identity, RunningServer, announced
from registry.service import Registry
from tests.registry.api.servers import served


@contextmanager
def running(registry: Registry) -> Iterator[None]:
    """Serve a registry, and have its home tell of it under the host of its settings."""
    identity = Identity.make()
    with served(create_app(registry, identity)) as (_, port):
        own = RunningServer(
            url=f"http://{registry.settings.host}:{port}",
            pid=os.getpid(),
            instance=identity.instance,
            token=identity.credential,
        )
        with announced(registry.settings.home, own):
            yield


def test_a_server_on_the_home_is_asked_through_no_proxy(
    settings: Settings,
    database_url: str,
    sessions: sessionmaker[Session],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever address it listens at: the proxy would not reach it, and learn its credential."""
    # The host is this machine, and none of loopback.
    open_to_all = settings.model_copy(update={"database_url": database_url, "host": "0.0.0.0"})
    with Registry(open_to_all) as registry, running(registry):
        for name in ("http_proxy", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")

        client = find_client(registry.settings)

        assert client is not None
        with client:
            assert client.list().items == []
