"""Commands are loaded when they are named, and known before."""

import subprocess
import sys
from pathlib import Path

import pytest

import registry.cli
from registry.cli.commands import FILES, load_commands
from tests.registry.cli.runner import run


@pytest.mark.parametrize("file", FILES)
def test_a_file_adds_the_commands_that_it_is_listed_with(file: str) -> None:
    assert tuple(load_commands(file)) == FILES[file]


def test_every_file_of_commands_is_listed() -> None:
    folder = Path(str(registry.cli.__file__)).parent
    having = {
        path.stem for path in folder.glob("*.py") if "\napp = typer.Typer(" in path.read_text()
    }

    assert set(FILES) == having - {"app"}


def test_a_command_that_is_none_is_told_from_all_that_there_are() -> None:
    result = run("doktor")

    assert result.exit_code == 2
    assert "Did you mean 'doctor'?" in result.stderr


def test_a_command_loads_no_other_file_of_commands() -> None:
    code = (
        "import sys; from registry.cli.app import app; "
        "app(['doctor', '--help'], standalone_mode=False); "
        "print([n for n in sys.modules if n in ('registry.cli.doctor', 'registry.cli.fuse')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "['registry.cli.doctor']"
