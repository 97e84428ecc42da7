"""What the loopback hub does wrong by a whim, seen by the real client."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from crawler.errors import DownloadError, SourceError
from crawler.manners import Manners
from crawler.records import AdapterRecord, Refusal
from crawler.sources.modelscope import ModelScopeSource
from demo.hub.modelscope import serve
from demo.hub.modelscope_facts import Hub
from demo.hub.whims import Whim, Whims
from tests.crawler.builders import add_entry

COUNT = 20


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    for number in range(COUNT):
        add_entry(tmp_path / "zoo", f"adapter-{number:02}")
    with serve(tmp_path / "zoo") as hub:
        yield hub


@pytest.fixture
def source(hub: Hub) -> Iterator[ModelScopeSource]:
    with ModelScopeSource(hub.endpoint, manners=Manners(attempts=1)) as source:
        yield source


def always(hub: Hub, answer: str, whim: Whim, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every answer of a kind be wrong in this way."""
    monkeypatch.setattr("demo.hub.whims.WHIMS", {answer: (whim,)})
    hub.whims.share = 1.0


def records(source: ModelScopeSource) -> list[AdapterRecord]:
    return [listed for listed in source.list_adapters() if not isinstance(listed, Refusal)]


@pytest.mark.parametrize("whim", ["error", "cut"])
def test_an_answer_that_fails_is_an_error_to_the_client(
    hub: Hub, source: ModelScopeSource, monkeypatch: pytest.MonkeyPatch, whim: Whim
) -> None:
    always(hub, "listing", whim, monkeypatch)

    with pytest.raises(SourceError):
        records(source)

    assert hub.whims.served == {whim: 1}


@pytest.mark.parametrize("answer", ["detail", "files"])
@pytest.mark.parametrize("whim", ["wrong size", "wrong hash"])
def test_a_file_is_not_what_was_announced(
    hub: Hub,
    source: ModelScopeSource,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    answer: str,
    whim: Whim,
) -> None:
    """A repository tells its files in one of the two answers, and some in each."""
    always(hub, answer, whim, monkeypatch)

    refused = 0
    for record in records(source):
        try:
            source.download(record, tmp_path / "downloads")
        except DownloadError:
            refused += 1

    assert refused == hub.whims.served[whim]
    assert 0 < refused < COUNT


def test_a_damaged_file_is_refused(
    hub: Hub, source: ModelScopeSource, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    record = records(source)[0]
    always(hub, "file", "damaged", monkeypatch)

    with pytest.raises(DownloadError, match="sha256"):
        source.download(record, tmp_path / "downloads")


def test_what_drips_comes_whole(
    hub: Hub, source: ModelScopeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.whims.drip_seconds = 0.01
    always(hub, "listing", "drip", monkeypatch)

    assert len(records(source)) == COUNT
    assert hub.whims.served["drip"] > 0


def test_a_broken_listing_is_the_same_until_it_is_mended(
    hub: Hub, source: ModelScopeSource
) -> None:
    hub.whims.break_listing("halved")
    half = {record.repo for record in records(source)}
    again = {record.repo for record in records(source)}
    hub.whims.break_listing("empty")
    empty = records(source)
    hub.whims.break_listing(None)

    assert half == again
    assert 0 < len(half) < COUNT
    assert empty == []
    assert len(records(source)) == COUNT


def test_the_share_is_that_of_all_answers() -> None:
    whims = Whims()
    whims.share = 0.25

    drawn = [whims.draw("detail") for _ in range(4000)]

    assert sum(whim is not None for whim in drawn) / 4000 == pytest.approx(0.25, abs=0.03)
    assert whims.answers == 4000
    assert whims.draw("no such answer") is None
