"""What the pages say of the code is there."""

import re
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
PAGES = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")])
# A file or a folder in backticks: `registry/db/runs.py`, `steps/crawl.py`, `retrieval/`.
NAMED = re.compile(r"`([a-z_][\w/]*(?:\.py|/))(?:::\w+)?`")
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)(?:#[^)]*)?\)")


def known_paths() -> set[str]:
    """Return every file and folder of the project, and the ends of their paths."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    known = set()
    for name in filter(None, listed.stdout.split("\0")):
        for path in (Path(name), *Path(name).parents):
            end = "" if path == Path(name) else "/"
            known |= {"/".join(path.parts[k:]) + end for k in range(len(path.parts))}
    return known


KNOWN = known_paths()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_folders_that_a_page_names_exist(page: Path) -> None:
    named = set(NAMED.findall(page.read_text()))

    assert {name for name in named if name not in KNOWN} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = LINK.findall(page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []
