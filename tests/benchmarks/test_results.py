"""What benchmarks leave behind."""

import json
from pathlib import Path

import pytest

from benchmarks.results import write_results


def test_figures_and_their_table_lie_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_results(tmp_path / "made/retrieval.json", {"mrr": 0.5}, "| MRR |\n")

    assert json.loads((tmp_path / "made/retrieval.json").read_text()) == {"mrr": 0.5}
    assert (tmp_path / "made/retrieval.md").read_text() == "| MRR |\n"
    assert capsys.readouterr().out == "| MRR |\n\n"
