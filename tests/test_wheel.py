"""A wheel is whole: installed away from the repository it makes a registry and searches it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.encoder.builders import make_factors, write_adapter

PROJECT = Path(__file__).parents[1]
FOLDERS = ("crawler", "encoder", "registry", "migrations")
FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a wheel of this code was installed into, as it comes from a package index.

    What it depends on is this environment's. Built from a copy, for building leaves folders.
    """
    folder = tmp_path_factory.mktemp("wheel")
    for name in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PROJECT / name, folder / "source" / name, ignore=ignored)
    for name in FILES:
        shutil.copy(PROJECT / name, folder / "source")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    alone = ["--no-deps", "--no-index"]
    to = ["--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*pip, "wheel", *alone, *to, str(folder / "source")], check=True)
    [wheel] = folder.glob("*.whl")
    to = ["--target", str(folder / "site")]
    subprocess.run([*pip, "install", *alone, *to, str(wheel)], check=True)
    return folder / "site"


def run(installed: Path, home: Path, *words: str | Path) -> str:
    """Run Python elsewhere, with the installed packages and without this repository."""
    done = subprocess.run(
        # -P: neither the script's folder nor the working one is on the path.
        [sys.executable, "-P", *words],
        cwd=home,
        env={
            **{name: value for name, value in os.environ.items() if "REGISTRY_" not in name},
            "PYTHONPATH": str(installed),
            "REGISTRY_HOME": str(home),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_installed_wheel_migrates_refreshes_and_searches(
    installed: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    loras = tmp_path / "loras"
    loras.mkdir()
    write_adapter(loras / "fox.safetensors", make_factors(1))
    (loras / "fox.json").write_text(json.dumps({"name": "Fox", "trigger_words": ["fx1"]}))
    autolora = installed / "bin" / "autolora"

    where = run(installed, home, "-c", "import registry; print(registry.__file__)")
    refreshed = run(installed, home, autolora, "refresh", "--source", loras, "--json")
    found = run(installed, home, autolora, "search", "fx1", "--json")

    assert Path(where.strip()).is_relative_to(installed), "this repository was tested"
    assert json.loads(refreshed)["ready"] == 1
    assert json.loads(found)["results"][0]["adapter"]["name"] == "Fox"


def test_an_installed_wheel_says_that_each_package_is_typed(installed: Path) -> None:
    """Without, `registry.AutoLoraError`, which is of `crawler`, is anything to a type checker."""
    for package in ("crawler", "encoder", "registry"):
        assert (installed / package / "py.typed").is_file()
