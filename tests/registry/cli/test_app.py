"""The command line: results on stdout, one line on stderr and exit code 1 for our failures."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from PIL import Image
from sqlalchemy import select
from typer.testing import CliRunner, Result

from registry.api.app import create_app
from registry.cli.app import app
from registry.cli.serving import Server
from registry.db.models import Adapter
from registry.service import Registry
from tests.builders import add_adapter
from tests.encoder.builders import make_factors, write_adapter
from tests.registry.conftest import embed, save_checkpoint
from tests.registry.fusion.builders import save_tiny_base

PROJECT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _environment(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands find the tests' registry as they find anyone's: by the environment."""
    monkeypatch.setenv("REGISTRY_HOME", str(registry.settings.home))
    monkeypatch.setenv("REGISTRY_DATABASE_URL", str(registry.settings.database_url))
    monkeypatch.setenv("COLUMNS", "120")


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def run_well(*words: str) -> str:
    result = run(*words)
    assert result.exit_code == 0, result.output
    return result.stdout


def run_badly(*words: str) -> str:
    """Run what must fail; return its one line."""
    result = run(*words)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("autolora: ")
    return result.stderr


def add_fox(registry: Registry) -> int:
    with registry.sessions.begin() as session:
        fox = embed(registry, "a fox")
        return add_adapter(
            session, name="[red]Fox[/red]", words="fox", captions=[("a fox", fox)], tags=["animal"]
        ).id


def write_folder(folder: Path, count: int) -> Path:
    """Write adapters with sidecars and covers, as people keep them."""
    folder.mkdir()
    for seed in range(count):
        write_adapter(folder / f"fox{seed}.safetensors", make_factors(seed))
        facts = {"name": f"Fox {seed}", "prompt": "a red fox", "trigger_words": [f"fx{seed}"]}
        (folder / f"fox{seed}.json").write_text(json.dumps(facts))
        Image.new("RGB", (32, 32), (40 * seed, 90, 10)).save(folder / f"fox{seed}.png")
    return folder


def test_search_prints_a_table(registry: Registry) -> None:
    """What looks like the terminal library's markup in a name is printed as it is."""
    fox = add_fox(registry)

    printed = run_well("search", "fox")

    assert f"{fox}  [red]Fox[/red]" in printed
    assert "1.00 #1" in printed


def test_a_narrow_terminal_shortens_names_but_no_numbers(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other commands take the id, and scores cut short mislead."""
    monkeypatch.setenv("COLUMNS", "80")
    with registry.sessions.begin() as session:
        fox = embed(registry, "a fox")
        own = add_adapter(
            session,
            name="fox " * 20,
            words="fox",
            trigger_words=["fox " * 20],
            captions=[("a fox", fox)],
        ).id

    (line,) = [part for part in run_well("search", "fox").splitlines() if "#1" in part]

    first, *rest = line.split()
    assert first == str(own)
    # Captions and words.
    assert rest[-1] == rest[-3] == "#1"


def test_search_prints_json(registry: Registry) -> None:
    fox = add_fox(registry)

    answer = json.loads(run_well("search", "狐狸", "--json", "--tag", "animal"))

    assert [result["adapter"]["id"] for result in answer["results"]] == [fox]
    assert answer["results"][0]["signals"]["captions"] > 0.5


def test_notes_stay_off_stdout(registry: Registry) -> None:
    """A pipe must not get advice amid the results."""
    add_fox(registry)

    result = run("search", "fox")

    assert "No weight encoder" in result.stderr
    assert "No weight encoder" not in result.stdout


def test_show(registry: Registry) -> None:
    fox = add_fox(registry)

    assert "[red]Fox[/red]" in run_well("show", str(fox))
    assert json.loads(run_well("show", str(fox), "--json"))["tags"] == ["animal"]
    assert "there is no adapter 999" in run_badly("show", "999")


def test_refresh_from_a_folder_until_it_can_be_found(registry: Registry, tmp_path: Path) -> None:
    """The whole way: files, verdicts, covers, captions, index, search. Twice changes nothing."""
    folder = write_folder(tmp_path / "zoo", 2)
    (folder / "broken.safetensors").write_bytes(b"not at all")

    first = run("refresh", "--source", str(folder))
    again = json.loads(run_well("refresh", "--source", str(folder), "--json"))

    assert first.exit_code == 0, first.output
    assert "2 adapters ready" in first.stdout
    assert "broken" in first.stderr
    assert again["ready"] == 2
    assert "Fox 1" in run_well("search", "a red fox")
    found = json.loads(run_well("search", "fx1", "--json"))["results"][0]
    assert (found["exact"], found["adapter"]["name"]) == (True, "Fox 1")
    assert "Safe" not in run_well("inspect", str(folder / "fox1.safetensors"))


def test_a_hub_that_is_down_is_one_line_and_a_failure(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("REGISTRY_MODELSCOPE_ENDPOINT", endpoint)

    result = run("crawl")

    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert registry.runs(limit=1)[0].state == "failed"


def test_the_life_of_an_encoder(registry: Registry, tmp_path: Path) -> None:
    first, second = (save_checkpoint(registry, name) for name in ("first", "second"))
    run_well("refresh", "--source", str(write_folder(tmp_path / "zoo", 2)))

    assert "first is registered for demo-flux-tiny" in run_well("encoders", "add", str(first))
    assert "first is active" in run_well("encoders", "promote", "first")
    run_well("encoders", "add", str(second))
    run_well("encoders", "backfill", "second")
    assert "second is active" in run_well("encoders", "promote", "second")
    assert "first is active again" in run_well("encoders", "rollback")
    listed = {row["name"]: row for row in json.loads(run_well("encoders", "list", "--json"))}

    assert {name: row["active"] for name, row in listed.items()} == {"first": True, "second": False}
    assert "first" in run_well("encoders", "list")
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"x" * 100)
    assert "cannot be registered" in run_badly("encoders", "add", str(bad))
    assert "cannot be registered" in run_badly("encoders", "add", str(tmp_path / "none"))
    assert "There are: " in run_badly("encoders", "promote", "third")


def test_fuse_writes_an_image_that_can_be_made_again(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tiny_base(tmp_path / "base")
    base_models = json.dumps({"demo-flux-tiny": str(tmp_path / "base")})
    monkeypatch.setenv("REGISTRY_BASE_MODELS", base_models)
    run_well("refresh", "--source", str(write_folder(tmp_path / "zoo", 1)))
    with registry.sessions() as session:
        [adapter] = session.scalars(select(Adapter.id))
    out, again = tmp_path / "out.png", tmp_path / "again.png"

    recipe = json.loads(
        run_well(
            *("fuse", "a fox", "-o", str(out), "--adapters", f"{adapter}:0.5"),
            *("--mode", "sum", "--steps", "2", "--seed", "3", "--json"),
        )
    )
    printed = run_well("fuse", "--recipe", str(out), "-o", str(again))

    assert [used["strength"] for used in recipe["adapters"]] == [0.5]
    assert recipe["full_prompt"] == "a fox, fx0"
    assert "Fox 0" in printed
    assert Image.open(again).tobytes() == Image.open(out).tobytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["search", "fox"], "nothing is indexed yet"),
        (["search", "  "], "the query is empty"),
        (["fuse"], "either a prompt or --recipe"),
        (["fuse", "x", "--adapters", "one"], "write ids with strengths"),
        (["fuse", "x", "--mode", "magic"], "one of gated, sum, average, base"),
        (["fuse", "x", "-o", "/no/such/folder/x.png"], "there is no folder /no/such/folder"),
        (["fuse", "--recipe", "/no/such.png"], "/no/such.png"),
        (["inspect", "/no/such.safetensors"], "such.safetensors"),
        (["refresh", "--source", "/no/such"], "a folder of this machine"),
        (["serve", "--host", "no.such.host.invalid"], "not an address of this machine"),
    ],
)
def test_failures_are_one_line(words: list[str], said: str) -> None:
    assert said in run_badly(*words)


def test_serving_on_a_taken_port_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        line = run_badly("serve", "--port", str(port))

    assert f"cannot serve on 127.0.0.1:{port}: the port is in use" in line


@contextmanager
def serving() -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Run `autolora serve` on a free port; give its address and the process."""
    code = "from registry.cli.app import app; app(['serve', '--port', '0'])"
    with subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, cwd=PROJECT
    ) as server:
        assert server.stderr is not None
        try:
            yield server.stderr.readline().split()[2], server
            assert (server.wait(timeout=60), server.stderr.read()) == (0, "")
        finally:
            server.kill()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_serve_answers_until_it_is_stopped(registry: Registry, stop: signal.Signals) -> None:
    """And then ends well, so that the embedded database is closed with it."""
    add_fox(registry)

    with serving() as (url, server):
        assert httpx.get(f"{url}/readyz", timeout=60).json()["adapters"] == 1
        assert "[red]Fox[/red]" in httpx.get(f"{url}/?q=fox", timeout=60).text
        server.send_signal(stop)


def test_a_signal_gives_up_the_image_at_work(registry: Registry) -> None:
    """Ctrl-C must not wait until nobody's image is done."""
    served = create_app(registry)
    server = Server(uvicorn.Config(served), served.state.queue)

    server.handle_exit(signal.SIGINT, None)

    assert server.should_exit
    assert served.state.queue.closing.is_set()


def test_a_database_that_is_away_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")

    run_badly("search", "fox")


def test_help_names_every_command() -> None:
    printed: Any = run_well("--help")

    for command in ("search", "show", "fuse", "serve", "inspect", "refresh", "crawl", "encode"):
        assert command in printed
