"""`make` sets up its own virtual environment, of a Python that the packages run on."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
READY = ".venv/.ready"
# As much of Python as the Makefile asks for: its version, and a virtual environment of it.
PYTHON = """#!/bin/sh
case "$1" in
-c) exec {real} -c "import sys; sys.version_info = {version}; $2" ;;
-m) rm -rf .venv && mkdir -p .venv/bin && cp "$0" .venv/bin/python && cp {pip} .venv/bin/pip ;;
esac
"""
PIP = """#!/bin/sh
echo "$@" >> installed
"""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What of the repository the target looks at, and Pythons beside it."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "setup.py", "constraints.txt"):
        shutil.copy(PROJECT / name, folder)
    write_program(tmp_path / "pip", PIP)
    for name, version in (("old", (3, 10, 9)), ("new", (3, 12, 1))):
        words = {"real": shlex.quote(sys.executable), "pip": shlex.quote(str(tmp_path / "pip"))}
        write_program(tmp_path / name, PYTHON.format(version=version, **words))
    return folder


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def make(checkout: Path, python: str) -> "subprocess.CompletedProcess[str]":
    # Of a `make test` that this runs below.
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    words = ["make", READY, f"PYTHON={checkout.parent / python}"]
    return subprocess.run(words, cwd=checkout, env=env, capture_output=True, text=True, check=False)


def times_installed(checkout: Path) -> int:
    path = checkout / "installed"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_a_python_that_is_too_old_is_told_of(checkout: Path) -> None:
    done = make(checkout, "old")

    assert done.returncode != 0
    assert "Python 3.11 or later is needed: make demo PYTHON=python3.12\n" in done.stderr
    assert not (checkout / ".venv").exists()


def test_what_is_made_is_kept(checkout: Path) -> None:
    """Whatever Python is named then."""
    assert make(checkout, "new").returncode == 0
    assert make(checkout, "new").returncode == 0
    assert make(checkout, "old").returncode == 0

    assert times_installed(checkout) == 1


def test_an_environment_of_an_old_python_is_made_anew(checkout: Path) -> None:
    bin_folder = checkout / ".venv/bin"
    bin_folder.mkdir(parents=True)
    shutil.copy(checkout.parent / "old", bin_folder / "python")
    shutil.copy(checkout.parent / "pip", bin_folder / "pip")

    assert make(checkout, "new").returncode == 0

    assert (bin_folder / "python").read_text() == (checkout.parent / "new").read_text()


def test_so_is_one_whose_python_is_gone(checkout: Path) -> None:
    """As after an update of the system; what was installed is for another Python."""
    make(checkout, "new")
    python = checkout / ".venv/bin/python"
    python.unlink()
    python.symlink_to(checkout.parent / "gone")

    assert make(checkout, "new").returncode == 0

    assert python.exists()
    assert times_installed(checkout) == 2
