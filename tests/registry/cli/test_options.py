"""Options in groups: one value to a command, single options to a person."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from registry.cli.errors import UsageError
from registry.cli.options import DrawingOptions, Seed, beside, check_output, grouped
from tests.registry.conftest import another_user


@dataclass(frozen=True)
class Colours:
    ink: Annotated[str, typer.Option(help="What lines are drawn with.")]
    paper: Annotated[str, typer.Option()] = "white"


app = typer.Typer()


@app.command()
@grouped
def draw(what: str, *, colours: Colours, seed: Seed = 0) -> None:
    """Draw something."""
    typer.echo(f"{what} {colours} {seed}")


def test_a_group_reaches_a_command_as_one_value() -> None:
    result = CliRunner().invoke(app, ["fox", "--ink", "red", "--seed", "3"])

    assert result.stdout == f"fox {Colours('red', 'white')} 3\n"


def test_a_field_without_default_is_required_and_help_names_each() -> None:
    assert CliRunner().invoke(app, ["fox"]).exit_code == 2
    assert (
        "What lines are drawn with"
        in CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120"}).stdout
    )


@pytest.mark.parametrize(("given", "read"), [(None, None), ("512", (512, 512)), ("8x6", (8, 6))])
def test_a_size_is_read_as_width_and_height(given: str | None, read: object) -> None:
    assert DrawingOptions(size=given).pixels == read


def test_outputs_that_differ_after_a_dot_share_no_state(tmp_path: Path) -> None:
    """Or else training v2 would replace what is kept of v1."""
    names = [beside(tmp_path / name, ".training.pt") for name in ("g.v1", "g.v2", "g.safetensors")]
    assert [path.name for path in names] == [
        "g.v1.training.pt", "g.v2.training.pt", "g.training.pt",
    ]  # fmt: skip


def test_a_folder_that_may_not_be_written_to_is_refused_before_anything_slow() -> None:
    """Pytest's own folders are closed to others."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        with another_user(), pytest.raises(UsageError, match=r"x\.png cannot be.* denied"):
            check_output(Path(folder, "x.png"))
