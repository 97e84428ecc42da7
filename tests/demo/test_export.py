"""What the repository ships of the miniature world holds together."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from demo.listing import BASE_MODEL, HUB_BASE_MODEL
from demo.paths import DATA, OUTSIDE
from demo.world.sources import load_sources
from demo.world.splits import is_stranger
from encoder.adapter.lora_file import read
from encoder.text_encoder import load_text_encoder
from encoder.weight_encoders.checkpoint import load_encoder
from encoder.weight_encoders.ridge import RidgeEncoder
from encoder.weight_encoders.voices import words_of

MOST_BYTES = 40_000_000


def read_listing(folder: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((folder / "listing.json").read_text())
    return entries


@pytest.fixture(scope="module")
def listing() -> list[dict[str, Any]]:
    return read_listing(DATA / "zoo")


@pytest.fixture(scope="module")
def outside() -> list[dict[str, Any]]:
    return read_listing(OUTSIDE)


def test_the_world_fits_in_40_megabytes() -> None:
    """People clone it; history keeps every byte."""
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) < MOST_BYTES


def test_every_listed_adapter_has_its_file_and_covers(
    listing: list[dict[str, Any]], outside: list[dict[str, Any]]
) -> None:
    assert len(listing) >= 100
    for folder, entry in [(DATA / "zoo", e) for e in listing] + [(OUTSIDE, e) for e in outside]:
        weights = read(folder / entry["file"])
        assert weights.base_model == BASE_MODEL, entry["file"]
        assert weights.verdict.fusable, entry["file"]
        assert entry["base_model"] == HUB_BASE_MODEL
        assert len(entry["covers"]) == 3
        assert all((folder / cover["file"]).is_file() for cover in entry["covers"])


def test_nothing_that_ships_is_without_an_entry(
    listing: list[dict[str, Any]], outside: list[dict[str, Any]]
) -> None:
    for folder, entries in ((DATA / "zoo", listing), (OUTSIDE, outside)):
        named = {entry["file"] for entry in entries}
        named |= {cover["file"] for entry in entries for cover in entry["covers"]}
        there = {path.relative_to(folder).as_posix() for path in folder.glob("*/*")}
        assert there == named


def test_adapters_from_outside_are_of_sets_that_nothing_has_seen(
    outside: list[dict[str, Any]],
) -> None:
    kept = {s.name for s in load_sources() if s.split == "held-out"}
    sets = {source for entry in outside for source in entry["_sources"]}
    assert sets <= kept
    assert is_stranger(sets)
    assert {entry["_split"] for entry in outside} == {"held-out"}


def test_adapters_from_outside_are_many_authors_of_all_kinds(
    outside: list[dict[str, Any]],
) -> None:
    kinds = Counter(entry["_kind"] for entry in outside)
    assert kinds == dict.fromkeys(("object", "thing", "style", "subject", "effect", "mixture"), 6)
    assert len({entry["owner"] for entry in outside}) >= 8
    assert {entry["_author"]["algorithm"] for entry in outside} == {"lora", "lokr"}
    assert {entry["_author"]["lazy"] for entry in outside} == {True, False}


def test_sets_from_outside_are_attributed(outside: list[dict[str, Any]]) -> None:
    told = (OUTSIDE / "ATTRIBUTION.md").read_text()
    sources = {s.name: s for s in load_sources()}
    for entry in outside:
        own = [sources[name] for name in entry["_sources"]]
        assert all(f"{s.package} {s.version} | {s.licence}" in told for s in own)
        assert entry["licence"] in {s.licence for s in own}


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


def test_shipped_encoder_hears_a_question_in_the_words_of_its_looks() -> None:
    """And none of it is near an adapter of which nothing is known."""
    encoder = load_encoder(DATA / "encoder.safetensors")
    assert isinstance(encoder, RidgeEncoder)
    assert encoder.known is not None
    assert encoder.penalties is not None
    asked = ["a stopwatch, just dark filled shapes", "stopwatch", "just dark filled shapes"]
    texts = load_text_encoder().encode(asked)

    heard = encoder.encode_question(texts)

    said = replace(encoder, known=None).encode_question(texts)
    looks = words_of(encoder.known.looks, encoder.text)
    assert (looks @ heard).max() > (looks @ said).max()
    assert abs(float(heard @ encoder.penalties.nothing())) < 1e-5
