"""Whom commands and Python ask: a server that runs on the home, and how."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

import registry as package
from crawler.errors import FileTooLargeError, NoRoomError
from registry.api.app import create_app
from registry.client import Client
from registry.config import Settings
from registry.reader import ClientFinder, find_client
from registry.running import Identity, RunningServer, announced
from registry.service import Registry
from tests.registry.api.conftest import add_file
from tests.registry.api.routes.test_exports import recipe_of
from tests.registry.api.servers import served


@contextmanager
def running(registry: Registry) -> Iterator[str]:
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
            yield own.url


def found(settings: Settings) -> Client:
    client = find_client(settings)
    assert client is not None
    return client


def test_what_a_server_sends_is_held_to_the_limits_of_files(
    registry: Registry, tmp_path: Path
) -> None:
    """Be it on this home or elsewhere."""
    fox = add_file(registry, 1, "fox")
    recipe = recipe_of(registry, fox)
    with running(registry) as url:
        elsewhere = registry.settings.model_copy(update={"url": url})
        for settings in (registry.settings, elsewhere):
            small = settings.model_copy(update={"max_file_bytes": 1})
            with found(small) as client, pytest.raises(FileTooLargeError):
                client.download(fox, tmp_path)
            with found(small) as client, pytest.raises(FileTooLargeError):
                client.pack(recipe, tmp_path / "files.zip")
            full = settings.model_copy(update={"reserved_bytes": 2**60})
            with found(full) as client, pytest.raises(NoRoomError):
                client.download(fox, tmp_path)

    assert list(tmp_path.glob("*.safetensors")) == []
    assert list(tmp_path.glob("*.zip")) == []


def test_a_client_is_that_of_the_server_that_runs_now(registry: Registry) -> None:
    with ClientFinder(registry.settings) as finder:
        assert finder.find() is None
        for _ in range(2):
            with running(registry) as url:
                client = finder.find()
                assert client is not None
                assert client.url == url
                assert finder.find() is client
            assert finder.find() is None


def test_a_client_of_another_address_stays_whatever_runs_here(registry: Registry) -> None:
    elsewhere = registry.settings.model_copy(update={"url": "http://gpu-box:8000"})
    with ClientFinder(elsewhere) as finder, running(registry):
        client = finder.find()
        assert client is not None
        assert client.url == "http://gpu-box:8000"
        assert finder.find() is client
    local = registry.settings.model_copy(update={"local": True})
    with ClientFinder(local) as finder, running(registry):
        assert finder.find() is None


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

        with found(registry.settings) as client:
            assert client.list().items == []


@pytest.mark.usefixtures("python")
def test_python_asks_the_server_that_runs_now_and_answers_itself_where_none_does(
    registry: Registry,
) -> None:
    """A notebook stays open for days, and servers are started anew meanwhile."""
    fox = add_file(registry, 1, "fox")

    def asks() -> str | None:
        """Ask, and return whom."""
        assert [item.id for item in package.browse().items] == [fox]
        client = package._client()
        return client.url if client else None

    assert asks() is None
    for _ in range(2):
        with running(registry) as url:
            assert asks() == url
            assert package._client() is package._client()
        assert asks() is None


FORKED = """
import os, sys, registry
from sqlalchemy import text

def connection():
    registry.browse()
    with registry._shared().sessions.begin() as session:
        return session.scalar(text("SELECT pg_backend_pid()"))

def tell():
    print(connection(), flush=True)

tell()
if os.fork() == 0:
    tell()
    sys.exit()
os.wait()
tell()
"""
FORKED_AFAR = """
import os, registry

client = registry._client()
if os.fork() == 0:
    print(registry._client() is client, flush=True)
else:
    os.wait()
    print(registry._client() is client)
"""
THREADS = """
import threading, registry

readers = []
threads = [threading.Thread(target=lambda: readers.append(registry._reader())) for _ in range(4)]
for each in threads:
    each.start()
for each in threads:
    each.join()
print(len(readers), len(set(map(id, readers))))
"""


@pytest.mark.usefixtures("python")
def test_a_forked_process_has_a_connection_of_its_own() -> None:
    """On its parent's it would take answers to the parent's questions, and end it at its end."""
    parent, child, parent_after = run_python(FORKED)

    assert child != parent
    assert parent_after == parent


def test_a_forked_process_asks_a_server_by_a_client_of_its_own(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_HOME", str(settings.home))
    monkeypatch.setenv("REGISTRY_URL", "http://gpu-box:8000")

    assert run_python(FORKED_AFAR) == ["False", "True"]


@pytest.mark.usefixtures("python")
def test_threads_that_ask_first_at_the_same_time_open_one_registry() -> None:
    """Each would load the base model for itself."""
    assert run_python(THREADS) == ["4 1"]


def run_python(code: str) -> list[str]:
    """Run a program with an interpreter of its own, and return the lines that it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()
