"""Several hubs feed one registry: what they share is one file, and each tells what it knows."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, sessionmaker

from crawler.filters import Filters
from crawler.sources.civitai import CivitaiSource
from crawler.sources.hugging_face import HuggingFaceSource
from crawler.sources.modelscope import ModelScopeSource
from demo.hub import civitai, hugging_face, modelscope
from demo.hub.civitai import CivitaiHub
from demo.hub.hugging_face import HuggingFaceHub
from demo.hub.modelscope_facts import Hub
from encoder.text_encoder import TextEncoder
from registry.blobs import BlobStore
from registry.config import Settings
from registry.db.models import Adapter, CrawlCursor, File
from registry.db.status import count_withheld
from registry.refresh.pipeline import Pipeline, StepProgress
from registry.refresh.steps.crawl import CrawlStep
from registry.refresh.steps.fetch import FetchStep
from registry.retrieval.filter_options import make_filters
from registry.retrieval.given_values import Paging
from registry.service import Registry
from tests.crawler.builders import add_entry
from tests.encoder.builders import make_factors, write_adapter

NAMES = ["cat", "dog", "fox"]
CRAWL = (CrawlStep, FetchStep)


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """Three adapters, which each hub here lists."""
    folder = tmp_path / "zoo"
    for number, name in enumerate(NAMES):
        entry = add_entry(folder, name)
        write_adapter(folder / entry["file"], make_factors(100 + number))
    return folder


@pytest.fixture
def modelscope_hub(zoo: Path) -> Iterator[Hub]:
    with modelscope.serve(zoo) as hub:
        yield hub


@pytest.fixture
def hugging_face_hub(zoo: Path) -> Iterator[HuggingFaceHub]:
    with hugging_face.serve(zoo) as hub:
        yield hub


@pytest.fixture
def civitai_hub(zoo: Path) -> Iterator[CivitaiHub]:
    with civitai.serve(zoo) as hub:
        yield hub


@pytest.fixture
def pipeline(
    sessions: sessionmaker[Session], settings: Settings, text_encoder: TextEncoder
) -> Pipeline:
    return Pipeline(sessions, BlobStore(settings.blobs), settings, text_encoder)


def failures(progress: list[StepProgress]) -> list[str]:
    outcomes = [step.outcome for step in progress if step.outcome is not None]
    return [outcome.message for outcome in outcomes if not outcome.ok]


def test_a_file_on_three_hubs_is_one_adapter_with_three_listings(
    modelscope_hub: Hub,
    hugging_face_hub: HuggingFaceHub,
    civitai_hub: CivitaiHub,
    settings: Settings,
    database_url: str,
    sessions: sessionmaker[Session],
) -> None:
    """It is fetched once, and found once, with the other listings beside it."""
    settings = settings.model_copy(update={"database_url": database_url})
    with Registry(settings) as registry:
        pipeline = Pipeline(
            registry.sessions, registry.blobs, registry.settings, registry.text_encoder
        )
        for source in (
            ModelScopeSource(modelscope_hub.endpoint),
            HuggingFaceSource(hugging_face_hub.endpoint),
            # Nobody is logged in, and the files are here already.
            CivitaiSource(civitai_hub.endpoint),
        ):
            with source:
                assert failures(list(pipeline.refresh(source))) == []
        found = registry.search(
            "cat", make_filters(base_model="demo-flux-tiny"), Paging(limit=5)
        ).results

    first = found[0]
    assert "cat" in first.card.name
    hubs = sorted(card.hub for card in (first.card, *first.also))
    assert hubs == ["civitai", "huggingface", "modelscope"]
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(File)) == len(NAMES)
        states = session.scalars(select(Adapter.state)).all()
    assert states == ["ready"] * 3 * len(NAMES)
    asked = [path for _, path, _ in hugging_face_hub.requests + civitai_hub.requests]
    assert not [path for path in asked if ".safetensors" in path or "/download/" in path]


def test_what_its_hub_withholds_is_listed_with_its_reason_and_fetched_when_that_is_over(
    pipeline: Pipeline, civitai_hub: CivitaiHub, sessions: sessionmaker[Session]
) -> None:
    end = datetime.now(UTC) + timedelta(days=2)
    civitai_hub.entries[0]["paidAccess"] = {"permanent": False, "endsAt": end.isoformat()}
    civitai_hub.entries[1]["paidAccess"] = {"permanent": True, "endsAt": None}
    with CivitaiSource(civitai_hub.endpoint, "tok") as source:
        assert failures(list(pipeline.refresh(source, steps=CRAWL))) == []
        assert files(sessions) == {"10": False, "11": False, "12": True}

        civitai_hub.entries[0]["paidAccess"] = None
        with sessions.begin() as session:
            over = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
            session.execute(
                update(Adapter)
                .where(Adapter.repo == "10")
                .values(record=Adapter.record.op("||")({"withheld_until": over}))
            )
        assert failures(list(pipeline.refresh(source, steps=(FetchStep,)))) == []

    assert files(sessions) == {"10": True, "11": False, "12": True}


def test_what_a_hub_gives_to_nobody_is_asked_for_once(
    pipeline: Pipeline, civitai_hub: CivitaiHub, sessions: sessionmaker[Session]
) -> None:
    """Civitai tells that of a version alone, which is not asked about where no prompt is."""
    civitai_hub.entries[0] |= {"usageControl": "Generation", "covers": []}
    with CivitaiSource(civitai_hub.endpoint, "tok") as source:
        [problem] = failures(list(pipeline.refresh(source, steps=CRAWL)))
        civitai_hub.requests.clear()
        assert failures(list(pipeline.refresh(source, steps=(FetchStep,)))) == []

    assert problem == "its author lets it be used on Civitai only"
    assert civitai_hub.requests == []
    with sessions() as session:
        assert count_withheld(session) == {problem: 1}
    assert files(sessions) == {"10": False, "11": True, "12": True}


def files(sessions: sessionmaker[Session]) -> dict[str, bool]:
    """Which adapters have a file."""
    with sessions() as session:
        rows = session.execute(select(Adapter.repo, Adapter.file_sha256))
        return {row.repo: row.file_sha256 is not None for row in rows}


def test_what_is_withheld_says_why(
    civitai_hub: CivitaiHub, settings: Settings, database_url: str, sessions: sessionmaker[Session]
) -> None:
    settings = settings.model_copy(update={"database_url": database_url})
    with Registry(settings) as registry, CivitaiSource(civitai_hub.endpoint) as source:
        pipeline = Pipeline(
            registry.sessions, registry.blobs, registry.settings, registry.text_encoder
        )
        list(pipeline.refresh(source, steps=CRAWL))
        with sessions() as session:
            adapter_id = session.scalars(select(Adapter.id).order_by(Adapter.id)).first()
        assert adapter_id is not None
        card = registry.adapter(adapter_id).card

    assert card.state == "listed"
    assert "REGISTRY_CIVITAI_TOKEN" in (card.refusal or "")


def test_a_changed_text_is_seen_without_a_new_version(
    pipeline: Pipeline, civitai_hub: CivitaiHub, sessions: sessionmaker[Session]
) -> None:
    """The hub lists by versions; what was not listed for longest is looked at again."""
    with CivitaiSource(civitai_hub.endpoint, "tok") as source:
        list(pipeline.refresh(source, steps=(CrawlStep,)))
        before = cursors(sessions)
        civitai_hub.entries[0]["description"] = "Draws every cat."

        assert failures(list(pipeline.refresh(source, steps=(CrawlStep,)))) == []

    with sessions() as session:
        told = session.scalars(select(Adapter.description).where(Adapter.repo == "10")).one()
    assert told == "Draws every cat."
    assert cursors(sessions) == before


def test_what_a_hub_lists_late_is_found_and_what_is_known_beside_it_is_not_read_again(
    pipeline: Pipeline, civitai_hub: CivitaiHub, sessions: sessionmaker[Session]
) -> None:
    """Civitai rates a model after a while, and sorts it by when it was published."""
    civitai_hub.entries[1]["nsfwLevel"] = 0
    with CivitaiSource(civitai_hub.endpoint, "tok") as source:
        list(pipeline.refresh(source, steps=(CrawlStep,)))
        before = cursors(sessions)
        civitai_hub.entries[1]["nsfwLevel"] = 1
        civitai_hub.requests.clear()

        assert failures(list(pipeline.refresh(source, steps=(CrawlStep,)))) == []

    assert files(sessions).keys() == {"10", "11", "12"}
    assert cursors(sessions) == before
    questions = [parse_qs(urlsplit(path).query) for _, path, _ in civitai_hub.requests]
    # The last is of what is looked at again, slowly.
    assert [question["ids"] for question in questions if "ids" in question] == [["11,12"], ["10"]]


def test_what_was_retired_and_is_listed_late_is_read_again(
    pipeline: Pipeline, civitai_hub: CivitaiHub, sessions: sessionmaker[Session]
) -> None:
    with CivitaiSource(civitai_hub.endpoint, "tok") as source:
        list(pipeline.refresh(source, steps=(CrawlStep,)))
        with sessions.begin() as session:
            session.execute(update(Adapter).where(Adapter.repo == "11").values(state="gone"))
        list(pipeline.refresh(source, steps=(CrawlStep,)))

    with sessions() as session:
        assert set(session.scalars(select(Adapter.state))) == {"listed"}


def cursors(sessions: sessionmaker[Session]) -> list[datetime]:
    with sessions() as session:
        return list(session.scalars(select(CrawlCursor.updated_since)))


def test_what_filters_leave_out_is_not_taken_for_gone(
    pipeline: Pipeline, modelscope_hub: Hub, sessions: sessionmaker[Session]
) -> None:
    """A filtered listing knows nothing of it; what it should show and does not is gone."""
    with ModelScopeSource(modelscope_hub.endpoint) as source:
        list(pipeline.refresh(source, steps=(CrawlStep,)))
    del modelscope_hub.entries[2]
    filters = Filters(min_downloads=1)
    with ModelScopeSource(modelscope_hub.endpoint, filters=filters) as source:
        list(pipeline.refresh(source, full=True, steps=(CrawlStep,)))

    with sessions() as session:
        rows = session.execute(select(Adapter.repo, Adapter.state))
        states = {row.repo: row.state for row in rows}
    assert states == {"alice/cat": "listed", "alice/dog": "listed", "alice/fox": "gone"}
