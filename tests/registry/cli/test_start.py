"""The first moments of `autolora`, before there is anything to report on."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer import Context
from typer.main import get_group

from registry.cli.app import app

# Ctrl-C at the moment when this module is looked for.
INTERRUPT = """
import os, signal, sys

class Interrupt:
    @staticmethod
    def find_spec(name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

{ignore}
sys.meta_path.insert(0, Interrupt)
from registry.__main__ import main
sys.argv = ["autolora", *{words!r}]
main()
"""


def start(module: str, *words: str, ignore: str = "") -> subprocess.CompletedProcess[str]:
    code = INTERRUPT.format(module=module, words=words, ignore=ignore)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.skipif(sys.platform == "win32", reason="signals end no process there")
@pytest.mark.parametrize("module", ["registry.cli.app", "typer", "registry.cli.search"])
def test_ctrl_c_while_modules_are_loaded_ends_it_without_a_traceback(module: str) -> None:
    done = start(module, "search", "fox")

    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_who_started_it_deaf_to_ctrl_c_has_it_run_on() -> None:
    """As `nohup` and scripts in the background do."""
    done = start(
        "registry.cli.app", "--help", ignore="signal.signal(signal.SIGINT, signal.SIG_IGN)"
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "Find LoRA adapters" in done.stdout


@pytest.mark.parametrize("name", ["list", "encoders"])
def test_of_a_file_of_commands_only_the_one_that_is_named_is_made(name: str) -> None:
    """A search's file has eight, and each has some twenty options."""
    group = get_group(app)

    command = group.get_command(Context(group), name)

    assert command is not None
    assert command.name == name
    assert list(group.commands) == [name]


def test_the_script_that_is_installed_starts_there() -> None:
    project = Path(__file__).parents[3] / "pyproject.toml"

    assert 'autolora = "registry.__main__:main"' in project.read_text(encoding="utf-8")
