"""Tables are filled in between their markers; what people wrote around them stays."""

import re
from pathlib import Path

import pytest

from benchmarks.report import (
    TABLES,
    ReportError,
    check_markers,
    fill,
    pages,
    places_of,
    read_tables,
)
from benchmarks.results import DOCS

PAGE = """# Finding

- Ours finds more: a conclusion that nobody may lose.

<!-- table: retrieval -->

| MRR |
|---|
| 0.1 |

<!-- end -->

Between them, <!-- table: not a marker --> within a line.

<!-- table: growth -->
<!-- end -->
The last line"""
HERE = Path("page.md")


def test_filling_a_table_leaves_all_else_as_it_is() -> None:
    filled = fill(PAGE, {"retrieval": "| MRR |\n|---|\n| 0.2 |\n"}, HERE)

    assert filled == PAGE.replace("0.1", "0.2")


def test_the_first_filling_needs_no_more_than_the_markers() -> None:
    filled = fill(PAGE, {"growth": "grown\n"}, HERE)

    assert filled == PAGE.replace("growth -->\n", "growth -->\n\ngrown\n\n")
    assert fill(filled, {"growth": "grown\n"}, HERE) == filled


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<!-- table: a -->\nx\n", r"page.md: table 'a' is not closed by <!-- end -->"),
        ("<!-- table: a -->\n<!-- table: b -->\n<!-- end -->\n", "line 2: table 'a' is not closed"),
        ("x\n<!-- end -->\n", "line 2: no table is open"),
        (2 * "<!-- table: a -->\n<!-- end -->\n", "line 3: table 'a' stands here twice"),
    ],
)
def test_broken_markers_are_told_with_their_line(text: str, told: str) -> None:
    with pytest.raises(ReportError, match=told):
        places_of(text, HERE)


def test_unknown_and_missing_markers_are_told_with_what_to_do(tmp_path: Path) -> None:
    page, other = tmp_path / "a.md", tmp_path / "b.md"
    page.write_text("<!-- table: retrieval -->\n<!-- end -->\n")
    other.write_text("")

    check_markers([page, other], ["retrieval"])
    with pytest.raises(ReportError, match=r"no benchmark makes table 'retrieval'; there are gro"):
        check_markers([page, other], ["growth"])
    with pytest.raises(ReportError, match=r"'growth': write <!-- table: growth --> and <!-- end"):
        check_markers([page, other], ["retrieval", "growth"])
    other.write_text(page.read_text())
    with pytest.raises(ReportError, match=r"b\.md: table 'retrieval' stands in .*a\.md already"):
        check_markers([page, other], ["retrieval"])


def test_what_was_not_measured_is_told_with_its_command(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"run `python -m benchmarks\.files` first"):
        read_tables(["reading"], tmp_path)


def test_the_pages_have_one_place_for_every_table() -> None:
    check_markers(pages(), TABLES)


def test_headline_figures_are_those_of_the_tables() -> None:
    """After a new measurement they are told to be old, instead of being so."""
    rows = [
        line.split("|")[2:5]
        for line in (DOCS / "benchmarks.md").read_text().splitlines()
        if line.startswith("| ") and "](benchmarks/" in line
    ]

    assert len(rows) == 11
    for figure, beside, link in rows:
        page = DOCS / re.findall(r"\((.*)\)", link)[0]
        text = page.read_text()
        lines = text.splitlines()
        measured = "\n".join(
            line for place in places_of(text, page).values() for line in lines[place]
        )
        for number in re.findall(r"[\d.]+ \[.*?\]|\d+\.\d+", figure + beside):
            assert number in measured, f"{number} is not in the tables of {page.name}"
