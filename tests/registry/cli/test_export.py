"""`autolora export` and `autolora send`: recipes taken to other programs."""

import zipfile
from pathlib import Path

import pytest

from benchmarks.comfyui.server import comfyui
from registry.fusion.exports.adapters import exported
from registry.service import Registry
from tests.registry.api.conftest import add_file
from tests.registry.api.routes.test_exports import recipe_of
from tests.registry.cli.runner import run_badly, run_well
from tests.registry.fusion.test_sending import FILES, RECIPE

pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = tmp_path / "recipe.json"
    path.write_text(RECIPE.to_json())
    return str(path)


def test_a_recipe_is_printed_for_another_program(path: str) -> None:
    assert run_well("export", path, "--to", "a1111").startswith(r"saber \(fate\) <lora:fox-")
    assert "it is one of diffusers, a1111" in run_badly("export", path, "--to", "photoshop")
    assert "give --to" in run_badly("export", path)


def test_files_are_packed_under_the_names_of_the_export(registry: Registry, tmp_path: Path) -> None:
    """Whole or not at all, and over nothing that is there."""
    recipe = recipe_of(registry, add_file(registry, 1, "fox"))
    written, packed = tmp_path / "recipe.json", tmp_path / "files.zip"
    written.write_text(recipe.to_json())

    run_well("export", str(written), "--files", str(packed))

    with zipfile.ZipFile(packed) as zipped:
        assert zipped.namelist() == ["README.txt", exported(recipe)[0].file]
    assert "is another file" in run_badly("export", str(written), "--files", str(packed))
    written.write_text(RECIPE.to_json())
    other = tmp_path / "other.zip"
    run_badly("export", str(written), "--files", str(other))
    assert not other.exists()
    assert sorted(tmp_path.glob("*.zip*")) == [packed]
    assert "no folder" in run_badly("export", str(written), "--files", str(tmp_path / "x" / "y"))


def test_a_recipe_is_sent_to_comfyui(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "set REGISTRY_COMFYUI_URL" in run_badly("send", path)
    with comfyui(FILES) as server:
        monkeypatch.setenv("REGISTRY_COMFYUI_URL", server.url)
        assert run_well("send", path) == "prompt-1\n"
