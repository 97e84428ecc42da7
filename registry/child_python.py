"""How a process of ours starts another one: by our own code, whatever the folder at hand has."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What Python calls the folders of what is installed, which it looks through by itself.
INSTALLED = ("site-packages", "dist-packages")


def child_words(module: str, *words: str) -> list[str]:
    """Return the command that runs a module of ours.

    People run `autolora` in folders of all kinds. Without -P a `queue.py` there would be imported
    in place of the standard library's.
    """
    return [sys.executable, "-P", "-m", module, *words]


def child_environment() -> dict[str, str]:
    """Return our environment, in which a child finds the packages that this process has."""
    # Before the standard library would come all that is installed.
    if ROOT.name in INSTALLED:
        return dict(os.environ)
    before = os.environ.get("PYTHONPATH")
    # An empty entry would be the folder at hand.
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *([before] if before else [])])}
