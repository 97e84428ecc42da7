"""What a hub no longer lists: when that is believed; and two refreshes at once."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from crawler.errors import SourceError
from crawler.records import AdapterRecord, Listed, Refusal
from crawler.sources.modelscope import ModelScopeSource
from crawler.sources.modelscope_detail import ListedRepo
from demo.hub.modelscope import serve
from demo.hub.modelscope_facts import Hub
from encoder.text_encoder import TextEncoder
from registry.blobs import BlobStore
from registry.config import Settings
from registry.db import runs
from registry.db.adapters import Origin
from registry.db.models import Adapter, CrawlRun
from registry.errors import RefreshUnderWayError
from registry.refresh.pipeline import Pipeline
from registry.refresh.steps.crawl import CrawlStep
from tests.crawler.builders import add_entry

COUNT = 30


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    for number in range(COUNT):
        add_entry(tmp_path / "zoo", f"adapter-{number:02}")
    with serve(tmp_path / "zoo") as hub:
        yield hub


@pytest.fixture
def source(hub: Hub) -> Iterator[ModelScopeSource]:
    with ModelScopeSource(hub.endpoint) as source:
        yield source


@pytest.fixture
def pipeline(
    sessions: sessionmaker[Session], settings: Settings, text_encoder: TextEncoder
) -> Pipeline:
    return Pipeline(sessions, BlobStore(settings.blobs), settings, text_encoder)


def crawl(
    pipeline: Pipeline, source: ModelScopeSource, *, full: bool = False, force: bool = False
) -> list[str]:
    """List what a hub has and return what was wrong."""
    steps = pipeline.refresh(source, full=full, force=force, steps=(CrawlStep,))
    outcomes = [step.outcome for step in steps if step.outcome is not None]
    return [outcome.message for outcome in outcomes if not outcome.ok]


def states(sessions: sessionmaker[Session]) -> Counter[str]:
    with sessions() as session:
        return Counter(session.scalars(select(Adapter.state)))


def test_an_empty_answer_empties_nothing(
    pipeline: Pipeline, source: ModelScopeSource, sessions: sessionmaker[Session], hub: Hub
) -> None:
    crawl(pipeline, source)
    hub.entries.clear()

    [problem] = crawl(pipeline, source, full=True)

    assert states(sessions) == {"listed": COUNT}
    assert "30 of 30 adapters" in problem
    assert "--force" in problem
    with sessions() as session:
        run = session.scalars(select(CrawlRun).order_by(CrawlRun.id.desc()).limit(1)).one()
    assert run.counts["problems"][0]["message"] == problem, "the report says how many"


def test_an_empty_answer_of_a_small_hub_empties_nothing(
    pipeline: Pipeline, source: ModelScopeSource, sessions: sessionmaker[Session], hub: Hub
) -> None:
    """So few may vanish at once, but not all there are."""
    del hub.entries[3:]
    crawl(pipeline, source)
    hub.entries.clear()

    [problem] = crawl(pipeline, source, full=True)

    assert "3 of 3 adapters" in problem
    assert states(sessions) == {"listed": 3}
    assert crawl(pipeline, source, full=True) == [], "a second listing agrees"
    assert states(sessions) == {"gone": 3}


def test_half_a_listing_is_believed_when_a_second_one_agrees(
    pipeline: Pipeline, source: ModelScopeSource, sessions: sessionmaker[Session], hub: Hub
) -> None:
    crawl(pipeline, source)
    del hub.entries[::2]

    assert crawl(pipeline, source, full=True)
    assert states(sessions) == {"listed": COUNT}
    assert crawl(pipeline, source, full=True) == []

    assert states(sessions) == {"listed": 15, "gone": 15}


def test_two_listings_that_lack_different_adapters_do_not_agree(
    pipeline: Pipeline, source: ModelScopeSource, sessions: sessionmaker[Session], hub: Hub
) -> None:
    crawl(pipeline, source)
    everything = list(hub.entries)
    hub.entries[:] = everything[:15]
    crawl(pipeline, source, full=True)
    hub.entries[:] = everything[15:]

    assert crawl(pipeline, source, full=True)

    assert states(sessions) == {"listed": COUNT}


def test_force_retires_at_once_and_the_next_refresh_brings_back_what_is_there(
    pipeline: Pipeline, source: ModelScopeSource, sessions: sessionmaker[Session], hub: Hub
) -> None:
    crawl(pipeline, source)
    away = hub.entries[10:]
    del hub.entries[10:]
    assert crawl(pipeline, source, full=True, force=True) == []
    assert states(sessions) == {"listed": 10, "gone": 20}

    hub.entries.extend(away)
    assert crawl(pipeline, source) == [], "not a full one"

    assert states(sessions) == {"listed": COUNT}


def test_a_few_that_vanish_are_believed_at_once(
    pipeline: Pipeline, source: ModelScopeSource, sessions: sessionmaker[Session], hub: Hub
) -> None:
    crawl(pipeline, source)
    del hub.entries[:10]

    assert crawl(pipeline, source, full=True) == []

    assert states(sessions) == {"listed": 20, "gone": 10}


@pytest.mark.parametrize(("vanished", "gone"), [(6, 6), (7, 0)])
def test_of_many_a_fifth_may_vanish_at_once(
    pipeline: Pipeline,
    source: ModelScopeSource,
    sessions: sessionmaker[Session],
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    vanished: int,
    gone: int,
) -> None:
    monkeypatch.setattr("registry.refresh.steps.crawl.FEW_MISSING", 0)
    crawl(pipeline, source)
    del hub.entries[:vanished]

    problems = crawl(pipeline, source, full=True)

    assert states(sessions)["gone"] == gone
    assert bool(problems) == (gone == 0)


def test_a_listing_with_a_gap_retires_nothing(
    pipeline: Pipeline,
    source: ModelScopeSource,
    sessions: sessionmaker[Session],
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it lacks may be in the gap."""
    crawl(pipeline, source)
    del hub.entries[:3]
    whole = source.list_adapters

    def with_a_gap(*asked: Any, **more: Any) -> Iterator[Listed]:
        yield from whole(*asked, **more)
        yield Refusal(source.hub, "", "page 2 could not be read")

    monkeypatch.setattr(source, "list_adapters", with_a_gap)
    assert crawl(pipeline, source, full=True) == ["page 2 could not be read"]
    assert states(sessions) == {"listed": COUNT}
    monkeypatch.setattr(source, "list_adapters", whole)

    assert crawl(pipeline, source, full=True) == []

    assert states(sessions) == {"listed": COUNT - 3, "gone": 3}


def test_a_repository_without_any_adapter_is_told_of_and_its_adapters_are_retired(
    pipeline: Pipeline, source: ModelScopeSource, sessions: sessionmaker[Session], hub: Hub
) -> None:
    crawl(pipeline, source)
    # Its author has taken out the weights; a picture is all that is left.
    hub.entries[0]["file"] = hub.entries[0]["covers"][0]["file"]

    [problem] = crawl(pipeline, source, full=True)

    assert problem == "the repository has no safetensors file of an adapter"
    assert states(sessions) == {"listed": COUNT - 1, "gone": 1}


def test_what_vanishes_every_day_makes_no_listing_full(
    pipeline: Pipeline, source: ModelScopeSource, sessions: sessionmaker[Session], hub: Hub
) -> None:
    """After a full listing that retires, one more lists everything, and then what changed."""
    crawl(pipeline, source)
    del hub.entries[0]
    crawl(pipeline, source, full=True)
    del hub.entries[0]
    crawl(pipeline, source)
    del hub.entries[0]

    assert crawl(pipeline, source) == []

    assert states(sessions) == {"listed": COUNT - 2, "gone": 2}
    with sessions() as session:
        assert runs.find_cursor(session, Origin(source.hub, source.endpoint)) is not None


@pytest.mark.parametrize(
    ("nights", "held_days", "listed"),
    [(1, 10_000, COUNT), (2, 10_000, COUNT - 1), (1, 7, COUNT - 1)],
)
def test_what_fails_for_a_moment_is_listed_by_the_next_refresh(
    pipeline: Pipeline,
    source: ModelScopeSource,
    sessions: sessionmaker[Session],
    monkeypatch: pytest.MonkeyPatch,
    nights: int,
    held_days: int,
    listed: int,
) -> None:
    """Those behind it do not move the cursor over it, but for what changed long ago; what fails
    twice holds it up no more."""
    monkeypatch.setattr("registry.refresh.steps.crawl.HELD", timedelta(days=held_days))
    monkeypatch.setattr("registry.refresh.steps.crawl.PAGE", 4)
    read = source._read_repo

    def read_others(repo: ListedRepo) -> list[AdapterRecord]:
        if repo.repo.endswith("-13"):
            raise SourceError("wait for an hour", retryable=True)
        return read(repo)

    monkeypatch.setattr(source, "_read_repo", read_others)
    for _ in range(nights):
        assert len(crawl(pipeline, source)) == 1
    monkeypatch.setattr(source, "_read_repo", read)

    assert crawl(pipeline, source) == []

    assert states(sessions) == {"listed": listed}


def test_what_can_be_read_at_the_end_of_a_listing_is_no_problem(
    pipeline: Pipeline,
    source: ModelScopeSource,
    sessions: sessionmaker[Session],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And holds up no cursor."""
    read, failed = source._read_repo, set[str]()

    def read_twice(repo: ListedRepo) -> list[AdapterRecord]:
        if repo.repo.endswith(("-03", "-13")) and repo.repo not in failed:
            failed.add(repo.repo)
            raise SourceError("wait a moment", retryable=True)
        return read(repo)

    monkeypatch.setattr(source, "_read_repo", read_twice)

    assert crawl(pipeline, source) == []

    assert states(sessions) == {"listed": COUNT}
    with sessions() as session:
        newest = session.scalars(select(func.max(Adapter.hub_updated_at))).one()
        assert runs.find_cursor(session, Origin(source.hub, source.endpoint)) == newest


def test_a_run_that_was_overtaken_retires_nothing(
    pipeline: Pipeline, source: ModelScopeSource, sessions: sessionmaker[Session]
) -> None:
    """Where no lock holds, as between two machines of which one lost its connection."""
    crawl(pipeline, source)
    origin = Origin(source.hub, source.endpoint)
    with sessions.begin() as session:
        paused, other = runs.start_run(session, origin), runs.start_run(session, origin)
    slow = CrawlStep(pipeline.context(source, paused, full=True)).run()
    next(slow)
    list(CrawlStep(pipeline.context(source, other, full=True)).run())
    list(slow)

    assert states(sessions) == {"listed": COUNT}
    with sessions() as session:
        assert set(session.scalars(select(Adapter.seen_run))) == {other}, "it never goes back"


def test_a_second_refresh_of_the_same_hub_does_nothing_and_says_so(
    pipeline: Pipeline,
    source: ModelScopeSource,
    sessions: sessionmaker[Session],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runs, "PATIENCE_SECONDS", 1)
    first = pipeline.refresh(source, steps=(CrawlStep,))
    next(first)

    with pytest.raises(RefreshUnderWayError, match="another process is refreshing modelscope"):
        crawl(pipeline, source)

    list(first)
    assert states(sessions) == {"listed": COUNT}
    with sessions() as session:
        assert list(session.scalars(select(CrawlRun.state))) == ["done"]
    assert crawl(pipeline, source) == [], "the way is free again"
