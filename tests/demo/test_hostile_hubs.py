"""Every hub misbehaves in every way, and the real clients come through."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from crawler.errors import DownloadError, SourceError
from crawler.manners import Manners
from crawler.records import AdapterRecord, Refusal, Source
from crawler.sources.civitai import CivitaiSource
from crawler.sources.hugging_face import HuggingFaceSource
from crawler.sources.modelscope import ModelScopeSource
from demo.hub import civitai, hugging_face, modelscope
from demo.hub.facts import ELSEWHERE, HubFacts
from demo.hub.whims import Whim
from tests.crawler.builders import add_entry

COUNT = 7


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of hub: how it is served and asked, and what it calls its answers."""

    serve: Callable[[Path], AbstractContextManager[HubFacts]]
    source: Callable[..., Any]
    details: tuple[str, ...]


KINDS = {
    "modelscope": Kind(modelscope.serve, ModelScopeSource, ("detail", "files")),
    "huggingface": Kind(hugging_face.serve, HuggingFaceSource, ("detail",)),
    "civitai": Kind(civitai.serve, CivitaiSource, ("version",)),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def hub(kind: Kind, tmp_path: Path) -> Iterator[HubFacts]:
    for number in range(COUNT):
        add_entry(tmp_path / "zoo", f"adapter-{number}")
    with kind.serve(tmp_path / "zoo") as hub:
        hub.whims.drip_seconds = 0.01
        yield hub


@pytest.fixture
def source(kind: Kind, hub: HubFacts) -> Iterator[Source]:
    with kind.source(hub.endpoint, "tok", page_size=2, manners=Manners(attempts=1)) as source:
        yield source


def records(source: Source) -> list[AdapterRecord]:
    return [item for item in source.list_adapters() if isinstance(item, AdapterRecord)]


@pytest.mark.parametrize("whim", ["duplicates", "shifted", "unknown fields", "drip", "other host"])
def test_what_is_odd_and_harmless_changes_nothing(
    hub: HubFacts, source: Source, kind: Kind, whim: Whim
) -> None:
    """Pages that shift or repeat, fields of tomorrow, and a next page at another host."""
    expected = records(source)
    hub.whims.always = dict.fromkeys(("listing", *kind.details), whim)

    assert records(source) == expected
    assert len(expected) == COUNT
    # ModelScope counts pages, and names no next one.
    assert hub.whims.served[whim] > 0 or (whim == "other host" and kind is KINDS["modelscope"])


@pytest.mark.parametrize("whim", ["error", "error body", "cut", "redirect"])
def test_a_listing_that_fails_is_one_error(hub: HubFacts, source: Source, whim: Whim) -> None:
    hub.whims.always = {"listing": whim}

    with pytest.raises(SourceError):
        list(source.list_adapters())

    assert hub.whims.served[whim] == 1


@pytest.mark.parametrize("whim", ["error body", "redirect"])
def test_an_adapter_that_cannot_be_read_costs_itself(
    hub: HubFacts, source: Source, kind: Kind, whim: Whim
) -> None:
    hub.whims.always = dict.fromkeys(kind.details, whim)

    found = list(source.list_adapters())

    assert len(found) == COUNT
    assert all(isinstance(item, Refusal) and item.repo for item in found)


@pytest.mark.parametrize("whim", ["error", "cut"])
def test_a_hub_that_fails_again_and_again_is_left(
    hub: HubFacts, source: Source, kind: Kind, whim: Whim
) -> None:
    hub.whims.always = dict.fromkeys(kind.details, whim)

    with pytest.raises(SourceError):
        list(source.list_adapters())


def test_nulls_say_nothing_and_break_nothing(hub: HubFacts, source: Source, kind: Kind) -> None:
    """Every field but those by which an adapter is known at all."""
    hub.whims.always = dict.fromkeys(("listing", *kind.details), "nulls")

    try:
        found = list(source.list_adapters())
    except SourceError:
        # All of a listing null is a listing that says of nothing that it is a LoRA.
        found = []

    assert hub.whims.served["nulls"] > 0
    assert all(isinstance(item, Refusal | AdapterRecord) for item in found)


@pytest.mark.parametrize("whim", ["wrong size", "wrong hash"])
def test_a_file_that_is_not_what_was_announced_is_not_kept(
    hub: HubFacts, source: Source, kind: Kind, whim: Whim, tmp_path: Path
) -> None:
    hub.whims.always = dict.fromkeys(("listing", *kind.details), whim)
    found = records(source)

    for record in found:
        with pytest.raises(DownloadError):
            source.download(record, tmp_path / "downloads")

    assert len(found) == COUNT
    assert not [path for path in (tmp_path / "downloads").rglob("*") if path.is_file()]


@pytest.mark.parametrize("whim", ["error", "cut", "redirect", "damaged", "drip"])
def test_a_download_comes_whole_or_not_at_all(
    hub: HubFacts, source: Source, whim: Whim, tmp_path: Path
) -> None:
    record = records(source)[0]
    hub.whims.always = {"file": whim}

    try:
        path = source.download(record, tmp_path / "downloads").path
    except (DownloadError, SourceError):
        assert whim != "drip"
        assert not list((tmp_path / "downloads").rglob("*.safetensors"))
    else:
        assert whim == "drip"
        assert path.read_bytes() == (hub.folder / hub.entries[0]["file"]).read_bytes()
    assert hub.whims.served[whim] > 0


def test_covers_at_an_address_inside_our_network_are_not_asked_for(
    hub: HubFacts, source: Source
) -> None:
    hub.faults.cover_address = "http://127.0.0.1:9/secret"
    covers = [cover for record in records(source) for cover in record.covers]

    assert len(covers) == COUNT
    for cover in covers:
        with pytest.raises(SourceError, match="not https"):
            source.fetch_cover(cover)


def test_no_token_goes_anywhere_else(hub: HubFacts, source: Source, tmp_path: Path) -> None:
    """Downloads that a hub redirects keep only harmless headers; see also test_http."""
    record = records(source)[0]
    hub.faults.redirect[hub.entries[0]["file"]] = f"{ELSEWHERE}/file"

    with pytest.raises(SourceError, match=r"elsewhere\.example"):
        source.download(record, tmp_path)


def test_the_pace_of_the_hub_is_kept(
    hub: HubFacts, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("crawler.manners.time.sleep", slept.append)
    hub.faults.rate_limit = '"api";r=10;t=50'

    found = records(source)

    assert len(found) == COUNT
    # The first request knows nothing yet; those after it are 5 seconds apart.
    assert min(slept[1:]) == pytest.approx(5, abs=1)
