"""A child has our code and the standard library's, and nothing of the folder at hand."""

import os
import subprocess
from pathlib import Path

import pytest

from registry import child_python
from registry.child_python import ROOT, child_environment, child_words


@pytest.mark.usefixtures("foreign_folder")
def test_a_child_runs_our_own_code() -> None:
    done = subprocess.run(
        child_words("registry", "--version"),
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_a_checkout_is_found_before_what_the_environment_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/others")
    assert child_environment()["PYTHONPATH"] == f"{ROOT}{os.pathsep}/others"

    monkeypatch.setenv("PYTHONPATH", "")
    assert child_environment()["PYTHONPATH"] == str(ROOT)


def test_what_is_installed_does_not_come_before_the_standard_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where PYTHONPATH would put it."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(child_python, "ROOT", Path("/venv/lib/python3.11/site-packages"))

    assert "PYTHONPATH" not in child_environment()
