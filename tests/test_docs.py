"""What the pages say of the code is there."""

import re
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
PAGES = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")])
# A file or a folder in backticks: `registry/db/runs.py`, `steps/crawl.py`, `retrieval/`.
NAMED = re.compile(r"`([a-z_][\w/]*(?:\.py|/))(?:::\w+)?`")
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)]*))?\)")
# `tests/test_docs.py::test_x`, and after it `::test_y` of the same file.
TEST = re.compile(r"`(tests/[\w/]+\.py)?(?:::(test_\w+))?`")
CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


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


def anchors(page: Path) -> set[str]:
    """Return what links may name of a page: its headings, as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    lost = []
    for name, anchor in LINK.findall(page.read_text()):
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(f"{name}#{anchor}")

    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_that_a_page_names_are_there(page: Path) -> None:
    lost, file = [], ""
    for path, test in TEST.findall(page.read_text()):
        file = path or file
        if test and f"def {test}(" not in (PROJECT / file).read_text():
            lost.append(f"{file}::{test}")

    assert lost == []
