"""What the repository ships of the miniature world holds together."""

import json
from collections import Counter
from typing import Any

import pytest

from demo.listing import BASE_MODEL, HUB_BASE_MODEL
from demo.paths import DATA
from encoder.adapter.lora_file import read
from encoder.weight_encoders.checkpoint import load_encoder

MOST_BYTES = 40_000_000


@pytest.fixture(scope="module")
def listing() -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((DATA / "zoo/listing.json").read_text())
    return entries


def test_the_world_fits_in_40_megabytes() -> None:
    """People clone it; history keeps every byte."""
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) < MOST_BYTES


def test_every_listed_adapter_has_its_file_and_covers(listing: list[dict[str, Any]]) -> None:
    assert len(listing) >= 120
    for entry in listing:
        weights = read(DATA / "zoo" / entry["file"])
        assert weights.base_model == BASE_MODEL, entry["file"]
        assert weights.verdict.fusable, entry["file"]
        assert entry["base_model"] == HUB_BASE_MODEL
        assert len(entry["covers"]) == 3
        assert all((DATA / "zoo" / cover["file"]).is_file() for cover in entry["covers"])


def test_shipped_adapters_span_the_splits_as_marked(listing: list[dict[str, Any]]) -> None:
    splits = json.loads((DATA / "splits.json").read_text())
    assert all(splits[entry["_key"]] == entry["_split"] for entry in listing)
    assert set(Counter(entry["_split"] for entry in listing)) == {"train", "validation", "held-out"}
    assert {entry["_kind"] for entry in listing} == {
        "object", "style", "colour", "texture", "background",
    }  # fmt: skip


def test_withheld_cells_pair_an_object_with_a_style() -> None:
    cells = json.loads((DATA / "withheld.json").read_text())
    splits = json.loads((DATA / "splits.json").read_text())
    assert len(cells) >= 150
    held_out = [cell for cell in cells if cell["split"] == "held-out"]
    assert all(
        splits[cell[kind]] == "held-out" for cell in held_out for kind in ("object", "style")
    )


def test_shipped_encoder_is_for_the_shipped_base() -> None:
    encoder = load_encoder(DATA / "encoder.safetensors")
    assert encoder.base_model == BASE_MODEL
    # Chance is 0.04 in a gallery of 120.
    assert encoder.metrics["validation"]["mrr"] > 0.5
