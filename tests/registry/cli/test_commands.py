"""Commands are loaded when they are named, and known before."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from typer.main import get_group

import registry.cli
from registry.cli.commands import COMMANDS, FILES, load_command
from tests.registry.cli.runner import run


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_in_the_file_that_it_is_listed_with(name: str) -> None:
    assert load_command(name).name == name


@pytest.mark.parametrize("file", FILES)
def test_a_file_adds_no_other_command_than_it_is_listed_with(file: str) -> None:
    app = import_module(f"registry.cli.{file}").app

    added = {app.info.name} if app.info.name else set(get_group(app).commands)
    assert added == set(FILES[file])


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
