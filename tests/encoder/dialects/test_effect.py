"""ΔW of each layer, as read, is what the program that wrote the file defines: docs/formats.md."""

from pathlib import Path

import pytest

from encoder.adapter.lora_file import inspect
from encoder.adapter.safetensors_header import read_header
from encoder.base_models.families import FAMILIES
from tests.encoder.dialects.cases import CASES, Case
from tests.encoder.dialects.compare import compare
from tests.encoder.dialects.networks import families
from tests.encoder.dialects.test_page import make_row, written_rows


@pytest.mark.parametrize("case", CASES, ids=str)
# PEFT and diffusers say so of tiny networks and of missing hubs.
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_effect_is_the_writers(case: Case, tmp_path: Path) -> None:
    path, changes = case.save(tmp_path)

    comparison = compare(path, changes, case.architecture)

    assert comparison.unmatched == ()
    assert comparison.missing == []
    assert comparison.surplus == []
    assert comparison.largest < 1e-5
    row = written_rows()[CASES.index(case)]
    assert row == make_row(case, changes, comparison), (
        "run python -m tests.encoder.dialects.test_page"
    )
    assert comparison.weights.base_model == f"tiny-{case.architecture}"
    header = inspect(read_header(path), path, (*FAMILIES, *families()))
    told = comparison.weights.verdict
    assert (header.format, header.family, header.kinds) == (told.format, told.family, told.kinds)
    assert (header.ranks, header.layers, header.fusable) == (told.ranks, told.layers, told.fusable)
