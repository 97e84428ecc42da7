"""The command line: one line on stderr and exit code 1 for our failures."""

import pytest

from tests.registry.cli.runner import run_badly, run_well

pytestmark = pytest.mark.usefixtures("environment")


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


def test_a_database_that_is_away_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")

    run_badly("search", "fox")


def test_help_names_every_command() -> None:
    printed = run_well("--help")

    for command in ("search", "show", "fuse", "serve", "inspect", "refresh", "crawl", "encode"):
        assert command in printed
