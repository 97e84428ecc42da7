"""Commands that find adapters: results on stdout, notes on stderr."""

import json

import pytest

from registry.service import Registry
from tests.builders import add_adapter
from tests.registry.cli.runner import add_fox, run, run_badly, run_well
from tests.registry.conftest import embed

pytestmark = pytest.mark.usefixtures("environment")


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
