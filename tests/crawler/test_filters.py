"""What filters let through."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crawler.filters import EVERYTHING, Filters
from crawler.records import AdapterRecord, FileRecord

DAY = datetime(2026, 1, 1, tzinfo=UTC)
RECORD = AdapterRecord(
    hub="hub",
    repo="alice/cat",
    version="",
    name="cat",
    author="alice",
    description="",
    trigger_words=(),
    tags=("Anime", "cat"),
    base_model_words=("Flux.1 D",),
    licence="MIT",
    mature=None,
    downloads=10,
    created_at=DAY,
    updated_at=DAY,
    file=FileRecord("cat.safetensors", None, None),
    covers=(),
    page_url="",
)


def name_base(words: Iterable[str]) -> str:
    names = {"Flux.1 D": "flux.1-dev", "SDXL 1.0": "sdxl-1.0"}
    return next((names[word] for word in words if word in names), "unknown")


def flux(*names: str) -> Filters:
    return Filters(base_models=frozenset(names), name_base=name_base)


@pytest.mark.parametrize(
    ("filters", "record"),
    [
        (EVERYTHING, {}),
        (flux("flux.1-dev", "sdxl-1.0"), {}),
        (Filters(tags=frozenset({"ANIME", "x"})), {}),
        (Filters(licences=frozenset({"mit"})), {}),
        (Filters(min_downloads=10), {}),
        (Filters(mature=False), {}),
        (Filters(mature=True), {"mature": True}),
        (Filters(updated_since=DAY), {}),
    ],
)
def test_what_is_asked_for_comes_through(filters: Filters, record: dict[str, Any]) -> None:
    assert filters.wants(replace(RECORD, **record))


@pytest.mark.parametrize(
    ("filters", "record"),
    [
        (flux("sdxl-1.0"), {}),
        (flux("flux.1-dev"), {"base_model_words": ()}),
        (Filters(tags=frozenset({"dog"})), {}),
        (Filters(tags=frozenset({"dog"})), {"tags": ()}),
        (Filters(licences=frozenset({"apache-2.0"})), {}),
        (Filters(licences=frozenset({"mit"})), {"licence": None}),
        (Filters(min_downloads=11), {}),
        (Filters(mature=False), {"mature": True}),
        (Filters(mature=True), {}),
        (Filters(updated_since=DAY + timedelta(seconds=1)), {}),
    ],
)
def test_what_is_not_asked_for_does_not(filters: Filters, record: dict[str, Any]) -> None:
    assert not filters.wants(replace(RECORD, **record))


def test_the_later_of_cursor_and_filter_counts() -> None:
    later = DAY + timedelta(days=1)

    assert EVERYTHING.since(None) is None
    assert EVERYTHING.since(DAY) == DAY
    assert Filters(updated_since=later).since(DAY) == later
    assert Filters(updated_since=DAY).since(later) == later


def test_a_hub_is_asked_to_filter_by_base_only_where_it_knows_them_all() -> None:
    """What it has no name for would be missed."""
    names = ["Flux.1 D", "SDXL 1.0", "Anima"]

    assert flux("flux.1-dev").bases_among(names) == ["Flux.1 D"]
    assert flux("flux.1-dev", "z-image").bases_among(names) == []
    assert EVERYTHING.bases_among(names) == []
