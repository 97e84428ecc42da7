"""What strangers wrote reaches a terminal as text, and as nothing else."""

import io
import json
import sys

import pytest
from rich.cells import cell_len
from rich.table import Table

from registry.cli.errors import report
from registry.cli.output import (
    last_of,
    print_facts,
    print_json,
    print_table,
    stderr,
    stdout,
)
from registry.cli.streams import write_any_text
from registry.errors import AdapterNotReadyError, BlobMismatchError, RegistryError

# Clears the screen, sets the title, turns the text round, and is invisible; C1 controls too.
ACTS = ("\x1b[2J", "\x1b]0;title\x07", "\x9b2J", "\u202e", "\u2066", "\u200b", "\r", "\b")
HOSTILE = "fox " + " ".join(ACTS) + " [red]:fire:[/red]"


def assert_harmless(printed: str) -> None:
    assert all(sign.isprintable() or sign == "\n" for sign in printed), printed
    assert "[red]:fire:[/red]" in printed


def test_what_is_printed_does_not_act(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table()
    table.add_column("name", no_wrap=True)
    table.add_row(HOSTILE.replace("[", "\\["))
    for console in (stdout(), stderr()):
        console.width = 200
        console.print(HOSTILE, markup=False)
        console.print(table)
    print_facts({"description": HOSTILE})
    print_table([{"name": HOSTILE}], "")
    report(HOSTILE)

    out, err = capsys.readouterr()

    assert_harmless(out)
    assert_harmless(err)
    assert "\\x1b[2J" in out


def test_json_says_the_same_in_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": HOSTILE + "狐狸 \U000e0041"})

    out = capsys.readouterr().out

    assert_harmless(out)
    assert "狐狸" in out
    assert json.loads(out) == {"name": HOSTILE + "狐狸 \U000e0041"}


@pytest.mark.parametrize(
    "error",
    [
        RegistryError(HOSTILE + "x" * 100_000 + " Do this."),
        AdapterNotReadyError(HOSTILE + "x" * 100_000, 7),
        BlobMismatchError(HOSTILE + "x" * 100_000, "a", "b"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_error_is_one_bounded_harmless_line(error: RegistryError) -> None:
    assert len(str(error)) <= 1000
    assert str(error).isprintable()


def test_a_terminal_without_unicode_gets_every_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with LC_ALL=C; and JSON stays JSON, in which a fox is two escapes."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    name = {"name": "狐狸 🦊 é"}

    write_any_text()
    print_facts(name)
    print_json(name)
    sys.stdout.flush()

    table, _, said = written.getvalue().decode("ascii").partition("\n")
    assert "\\u72d0" in table
    assert json.loads(said) == name


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("short.safetensors", "short.safetensors"),
        ("loras/run-000004.safetensors", "…n-000004.safetensors"),
        # Each of these takes two columns, and there is one left.
        ("流行/" + "红心" * 8 + "xx.ckpt", "…红心红心红心xx.ckpt"),
    ],
)
def test_of_a_long_path_the_end_is_shown(path: str, shown: str) -> None:
    assert last_of(path, 21) == shown
    assert cell_len(last_of(path, 21)) <= 21
