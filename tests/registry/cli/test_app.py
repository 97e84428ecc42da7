"""The command line: one line on stderr and exit code 1 for our failures."""

import os
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from registry.cli.errors import kept_of
from registry.service import Registry
from tests.registry.cli.runner import run, run_badly, run_well

pytestmark = pytest.mark.usefixtures("environment")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["search", "fox"], "nothing is indexed yet"),
        (["search", "  "], "nothing is indexed yet"),
        (["choose", "  "], "the query is empty"),
        (["fuse"], "either a prompt or --recipe"),
        (["fuse", "x", "--adapters", "one"], "write ids with strengths"),
        (["fuse", "x", "--mode", "magic"], "one of gated, sum, average, base"),
        (["fuse", "x", "-o", "/no/such/folder/x.png"], "there is no folder /no/such/folder"),
        (["fuse", "x", "-o", f"{'x' * 252}.png"], "File name too long"),
        (["compare", "x", "-o", f"{'x' * 252}.png"], "File name too long"),
        (["grid", "x", "--adapters", "1,2", "-o", f"{'x' * 252}.png"], "File name too long"),
        (["export", "x.png", "--files", f"{'x' * 252}.zip"], "File name too long"),
        (["fuse", "--recipe", "/no/such.png"], "/no/such.png"),
        (["inspect", "/no/such.safetensors"], "such.safetensors"),
        (["refresh", "--source", "/no/such"], "a folder of this machine"),
        (["train-encoder", "--base-model", "bogus"], "no layers are known of base model 'bogus'"),
        (["serve", "--host", "no.such.host.invalid"], "not an address of this machine"),
    ],
)
def test_failures_are_one_line(words: list[str], said: str) -> None:
    assert said in run_badly(*words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["search", "--limit", "0"], "--limit is 0; it is 1 at least."),
        (["search", "--page", "0"], "--page is 0; it is 1 at least."),
        (["search", "--like", "abc"], "--like is 'abc'; write a whole number."),
        (["list", "--min-rank", "1.5"], "--min-rank is 1.5; write a whole number."),
        (["list", "fox"], "got unexpected extra argument(s) (fox)."),
        (["show"], "missing argument 'ID'."),
        (["show", "-1"], "no such option: -1. Words that begin with - go last, behind --: "),
        (["search", "-red"], "search -- -x`. "),
        (["search", "--limitt", "3"], "--limitt (Possible options: --limit)."),
        (["search", "--limit"], "option '--limit' requires an argument."),
        (["serve", "--nightly", "x"], "--nightly: 'x' does not match the formats '%H:%M'."),
    ],
)
def test_what_cannot_be_read_is_one_line_that_says_what_to_do(words: list[str], said: str) -> None:
    result = run(*words)

    assert result.exit_code == 2
    assert result.stderr.startswith("autolora: ")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr


def test_a_database_that_is_away_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")

    run_badly("search", "fox")


def test_a_database_that_goes_away_meanwhile_is_one_line(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it is asked, also by commands that ask it themselves."""

    def end(session: Session) -> None:
        session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    monkeypatch.setattr("registry.db.encoders.list_encoders", end)

    assert "the database connection was lost" in run_badly("encoders", "list")


@pytest.mark.parametrize("command", ["list", "settings", "doctor", "serve", "inspect", "backup"])
def test_a_wrong_setting_is_one_line(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_PORT", "abc")
    words = {"inspect": ["https://hub.example/x.safetensors"], "backup": ["/tmp/no/such"]}

    assert "REGISTRY_PORT" in run_badly(command, *words.get(command, []))


def test_help_names_every_command() -> None:
    printed = run_well("--help")

    for command in ("search", "show", "fuse", "serve", "inspect", "refresh", "crawl", "encode"):
        assert command in printed


def test_the_version_is_printed_and_h_is_help() -> None:
    assert run_well("--version") == f"autolora {version('autolora-registry')}\n"
    assert run_well("search", "-h") == run_well("search", "--help")


def test_a_misspelt_setting_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ignored in silence, it would be searched for in everything else first."""
    monkeypatch.setenv("REGISTRY_BASE_MODEL", "{}")
    monkeypatch.setenv("REGISTRY_STORAGE_DELETE_ENABLED", "of another program")

    result = run("list")

    assert result.exit_code == 0
    (line,) = [line for line in result.stderr.splitlines() if "no setting" in line]
    assert line.startswith("autolora: REGISTRY_BASE_MODEL is no setting")
    assert "REGISTRY_BASE_MODELS" in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["list"], ""),
        (["crawl"], " What was done is kept: the same command goes on from there."),
        (["fuse", "x"], " No half image was written: the same command draws all of it."),
        (
            ["download", "1"],
            " No half file was written: the same command fetches all of it.",
        ),
    ],
)
def test_ctrl_c_promises_only_what_is_true(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever stops an image begins it anew; a crawl goes on."""

    def stop(_: Registry) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Registry, "sessions", property(stop))

    result = run(*words)

    assert result.exit_code == 130
    assert result.stderr == f"autolora: stopped.{said}\n"


@pytest.mark.parametrize(
    "command", ["refresh", "caption", "draw-covers", "train-encoder", "train-gates"]
)
def test_what_its_help_calls_safe_to_rerun_says_so_when_it_is_stopped(command: str) -> None:
    assert "Safe to stop and rerun" in run_well(command, "--help")
    assert "goes on from there" in kept_of(command)


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="Linux's file that is always full")
def test_output_that_finds_no_room_is_told_in_one_line() -> None:
    with FULL.open("w") as full:
        words = [sys.executable, "-m", "registry", "settings"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)

    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "no space is left where the output goes" in done.stderr
