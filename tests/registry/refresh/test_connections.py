"""Every connection that a refresh makes, counted from outside of all its libraries."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy.orm import Session, sessionmaker

from demo.hub import civitai, hugging_face
from demo.hub.facts import HubFacts
from demo.hub.modelscope import serve
from demo.hub.modelscope_facts import Hub
from demo.hub.ranges import FileServer, serve_file
from tests.crawler.builders import add_entry

# Python tells of every name that is looked up and every socket that is connected, whoever does
# it. PostgreSQL's library is C and is not heard; it is told one address, by the settings.
WATCHED = """
import json, sys

seen = []

def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        seen.append([event, str(arguments[1])])
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        seen.append([event, str(arguments[:2])])

sys.addaudithook(watch)
from registry.cli.app import app

try:
    app(["refresh", "--full", "--source", sys.argv[1], "--json"])
finally:
    print(json.dumps(seen), file=open(sys.argv[2], "w"))
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """Three adapters, each with its file and its cover."""
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    for name in ("cat", "dog", "fox"):
        add_entry(zoo, name)
    with serve(zoo) as hub:
        yield hub


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[FileServer]:
    """Something in our own network that a hub would like to be read for it."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"cn-secret")
    with serve_file(secret) as server:
        yield server


def connections(
    hub: HubFacts,
    database_url: str,
    sessions: sessionmaker[Session],
    tmp_path: Path,
    setting: str = "MODELSCOPE",
) -> set[tuple[str, str]]:
    """Refresh all from `hub` in a process of its own; return what it connected to."""
    report = tmp_path / "connections.json"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("REGISTRY_")}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, hub.endpoint, str(report)],
        env=environment
        | {
            "REGISTRY_HOME": str(tmp_path / "home"),
            "REGISTRY_DATABASE_URL": database_url,
            f"REGISTRY_{setting}_ENDPOINT": hub.endpoint,
            f"REGISTRY_{setting}_TOKEN": "tok",
            "MODELSCOPE_HOME": str(tmp_path / "modelscope-home"),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"]["read"]["ok"] > 0
    return {(event, what) for event, what in json.loads(report.read_text())}


def expected(hub: HubFacts) -> set[tuple[str, str]]:
    """The one host that the operator named, looked up and connected to."""
    port = urlsplit(hub.endpoint).port
    where = str(("127.0.0.1", port))
    return {("socket.getaddrinfo", where), ("socket.connect", where)}


def test_a_full_refresh_connects_to_the_hub_and_to_nobody_else(
    hub: Hub, database_url: str, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """A connection that is not on this list is a way around the guard."""
    assert connections(hub, database_url, sessions, tmp_path) == expected(hub)


@pytest.mark.parametrize(
    ("serve", "setting"),
    [(hugging_face.serve, "HUGGING_FACE"), (civitai.serve, "CIVITAI")],
    ids=["huggingface", "civitai"],
)
def test_other_hubs_too_are_all_that_is_connected_to(
    serve: Callable[[Path], AbstractContextManager[HubFacts]],
    setting: str,
    inside: FileServer,
    database_url: str,
    sessions: sessionmaker[Session],
    tmp_path: Path,
) -> None:
    """Also where they name another host as the next page, and covers in our network."""
    for name in ("cat", "dog", "fox"):
        add_entry(tmp_path / "other", name)
    with serve(tmp_path / "other") as hub:
        hub.whims.always["listing"] = "other host"
        hub.faults.cover_address = inside.url

        assert connections(hub, database_url, sessions, tmp_path, setting) == expected(hub)

    assert inside.requests == []


def test_nothing_that_a_hub_names_is_visited_inside_our_network(
    hub: Hub,
    inside: FileServer,
    database_url: str,
    sessions: sessionmaker[Session],
    tmp_path: Path,
) -> None:
    """What is there would be read for the hub, and told to it."""
    hub.faults.cover_address = inside.url
    hub.faults.redirect[hub.entries[0]["file"]] = inside.url
    hub.faults.redirect[hub.entries[1]["file"]] = inside.url.replace("http:", "https:")
    # Where ModelScope's own library asks which region it runs in; it tells the hub.
    hub.faults.region_address = inside.url

    # Names may be looked up, and what they lead to be refused.
    asked = ("socket.getaddrinfo", str(("127.0.0.1", urlsplit(inside.url).port)))
    made = connections(hub, database_url, sessions, tmp_path)
    assert made - {asked} == expected(hub)
    assert inside.requests == []
    assert not [v for headers in hub.headers for v in headers.values() if "secret" in v]
