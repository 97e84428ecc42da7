"""docs/formats.md says what is read; `test_effect.py` holds each row against what it measures.

`python -m tests.encoder.dialects.test_page` writes the table into the page.
"""

import math
import tempfile
import warnings
from pathlib import Path

from encoder.base_models.facts import read_facts
from tests.encoder.dialects.cases import CASES, Case
from tests.encoder.dialects.compare import Comparison, compare
from tests.encoder.dialects.networks import TINY, Changes
from tests.encoder.dialects.outputs import largest_difference

PAGE = Path(__file__).parents[3] / "docs" / "formats.md"
# Networks whose answers are compared, too.
RUN = ("flux.1", "sd-1.5", "sd-2.1", "sdxl-1.0")
START, END = "<!-- table: written by a test -->\n", "<!-- end of table -->"
HEAD = (
    "| Program | What it writes | Base | Read | Base right | Effect equal | Fused | Output |",
    "|---|---|---|---|---|---|---|---|",
)


def make_table(folder: Path) -> str:
    rows = [_measured_row(case, folder / str(number)) for number, case in enumerate(CASES)]
    return "\n".join((*HEAD, *rows)) + "\n"


def written_rows() -> list[str]:
    """Return the rows of the page's table, of which each case has one."""
    table = PAGE.read_text(encoding="utf-8").partition(START)[2].partition(END)[0]
    return table.splitlines()[len(HEAD) :]


def _measured_row(case: Case, folder: Path) -> str:
    folder.mkdir()
    path, changes = case.save(folder)
    return make_row(case, changes, compare(path, changes, case.architecture))


def make_row(case: Case, changes: Changes, comparison: Comparison) -> str:
    verdict = comparison.weights.verdict
    whole = not (comparison.unmatched or comparison.missing or comparison.surplus)
    output = ""
    if case.architecture in RUN:
        worst = largest_difference(comparison.weights, changes, case.architecture)
        output = _bound(worst, finest=-4)
    cells = (
        case.writer,
        case.form,
        case.architecture,
        _mark(whole),
        _mark(comparison.weights.base_model == f"tiny-{case.architecture}"),
        f"{_mark(comparison.largest < 1e-5)} {_bound(comparison.largest, finest=-5)}",
        _fused(case, verdict.fusable),
        output,
    )
    return f"| {' | '.join(cells)} |"


def _fused(case: Case, fusable: bool) -> str:
    """Images alone are fused; a tiny network's name does not say that it makes videos."""
    alike = [f for f in read_facts().values() if f.architecture == TINY[case.architecture][0]]
    if all(facts.video for facts in alike):
        return "no: video"
    return "yes" if fusable else "no"


def _mark(holds: bool) -> str:
    return "✓" if holds else "✕"


def _bound(value: float, *, finest: int) -> str:
    """The next power of ten, of which float32 tells `finest`: another machine writes the same."""
    return f"< 1e{max(finest, math.floor(math.log10(value)) + 1 if value else finest)}"


def test_the_page_has_a_row_for_each_case() -> None:
    rows = written_rows()

    asked = [f"| {case.writer} | {case.form} | {case.architecture} |" for case in CASES]
    assert "\n".join((START.strip(), *HEAD)) in PAGE.read_text(encoding="utf-8")
    assert [row[: len(begin)] for row, begin in zip(rows, asked, strict=True)] == asked
    assert "✕" not in "".join(rows)


def write_page() -> None:
    warnings.simplefilter("ignore")
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(START)
    with tempfile.TemporaryDirectory() as folder:
        table = make_table(Path(folder))
    PAGE.write_text(before + START + table + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    write_page()
