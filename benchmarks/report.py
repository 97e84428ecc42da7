"""Run benchmarks on the full zoo and fill their tables in docs/.

Only what lies between a table's markers is written; the prose around it is the page's own:

    <!-- table: retrieval -->
    <!-- end -->
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.results import DOCS, RESULTS

# Every table, with the module (and options) that measures it and leaves it among the results.
TABLES = {
    "retrieval": "benchmarks.retrieval",
    "growth": "benchmarks.growth",
    "recipes": "benchmarks.recipes --seeds 1",
    "learning": "benchmarks.learning",
    "search": "benchmarks.search",
    "described": "benchmarks.search.described",
    "scale": "benchmarks.scale",
    "serving": "benchmarks.serving --home demo/out/home",
    "crawling": "benchmarks.crawl",
    "duplicates": "benchmarks.duplicates",
    "fingerprints": "benchmarks.duplicates.fingerprints",
    "reading": "benchmarks.files",
    "encoding": "benchmarks.files.encoding",
    "folder": "benchmarks.files.folder",
    "shipped": "benchmarks.files.shipped",
    "fusion": "benchmarks.fusion",
    "recognition": "benchmarks.fusion.recognition",
    "fusion_outside": "benchmarks.fusion.outside --first-group 39",
    "departure": "benchmarks.fusion.departure",
    "fusion_cost": "benchmarks.fusion.cost",
    "page": "benchmarks.page",
}
MARKER, END = re.compile(r"<!-- table: (.*) -->"), "<!-- end -->"


class ReportError(Exception):
    """The pages and the tables do not fit together; nothing was written."""


def pages() -> list[Path]:
    return [DOCS / "benchmarks.md", *sorted((DOCS / "benchmarks").glob("*.md"))]


def places_of(text: str, page: Path) -> dict[str, slice]:
    """Return which lines lie between the markers of every table of a page.

    Raises:
        ReportError: a table is not closed, or stands twice.
    """
    places: dict[str, slice] = {}
    name, start = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        marker = MARKER.fullmatch(line)
        if marker is None and line != END:
            continue
        if (marker is not None) == bool(name):
            missing = f"table {name!r} is not closed by {END}" if name else "no table is open"
            raise ReportError(f"{page}, line {number}: {missing}")
        if marker is None:
            places[name] = slice(start, number - 1)
            name = ""
        else:
            name, start = marker[1], number
            if name in places:
                raise ReportError(f"{page}, line {number}: table {name!r} stands here twice")
    if name:
        raise ReportError(f"{page}: table {name!r} is not closed by {END}")
    return places


def fill(text: str, tables: Mapping[str, str], page: Path) -> str:
    """Return the page with what lies between the markers of `tables` replaced."""
    lines = text.splitlines(keepends=True)
    # From the last to the first, so that the lines before stay where they are.
    places = sorted(places_of(text, page).items(), key=lambda item: item[1].start, reverse=True)
    for name, place in places:
        if name in tables:
            lines[place] = [f"\n{tables[name].strip()}\n\n"]
    return "".join(lines)


def check_markers(paths: Iterable[Path], known: Iterable[str]) -> None:
    """Make sure that every table has one place in the pages, and every place a table.

    Raises:
        ReportError: it tells which not.
    """
    known = set(known)
    found: dict[str, Path] = {}
    for page in paths:
        for name in places_of(page.read_text(), page):
            if name not in known:
                names = ", ".join(sorted(known))
                raise ReportError(f"{page}: no benchmark makes table {name!r}; there are {names}")
            if name in found:
                raise ReportError(f"{page}: table {name!r} stands in {found[name]} already")
            found[name] = page
    if missing := sorted(known - found.keys()):
        raise ReportError(
            f"no page has a place for table {missing[0]!r}: write <!-- table: {missing[0]} --> "
            f"and {END} where it belongs, each on a line of its own"
        )


def read_tables(names: Sequence[str], folder: Path = RESULTS) -> dict[str, str]:
    """Read what benchmarks left.

    Raises:
        ReportError: one has not been run.
    """
    for name in names:
        if not (folder / f"{name}.md").exists():
            raise ReportError(f"{name!r} is not measured: run `python -m {TABLES[name]}` first")
    return {name: (folder / f"{name}.md").read_text() for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", help=f"all, or some of: {', '.join(TABLES)}")
    parser.add_argument("--fill", action="store_true", help="fill in existing results, run nothing")
    options = parser.parse_args()
    names = options.tables or list(TABLES)
    if unknown := [name for name in names if name not in TABLES]:
        parser.error(f"no table {unknown[0]!r}; there are {', '.join(TABLES)}")
    try:
        # Measuring takes hours: what does not fit is told before it.
        check_markers(pages(), TABLES)
        if not options.fill:
            for name in names:
                subprocess.run([sys.executable, "-m", *TABLES[name].split()], check=True)
        tables = read_tables(names)
    except ReportError as error:
        parser.error(str(error))
    for page in pages():
        page.write_text(fill(page.read_text(), tables, page))


if __name__ == "__main__":
    main()
