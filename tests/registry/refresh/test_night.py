"""Nights over a hub that changes: what they show, what they leave alone, and that one is done."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session, sessionmaker

from crawler.sources.folder import FolderSource
from demo.hub.modelscope import serve
from demo.hub.modelscope_facts import Hub
from encoder.text_encoder import TextEncoder, load_text_encoder
from registry.blobs import BlobStore
from registry.config import Settings
from registry.db import nights as db_nights
from registry.db.encoder_models import Encoder, Sketch, WeightEmbedding
from registry.db.models import Adapter, Caption, CrawlRun
from registry.db.nights import MOST_ATTEMPTS, NightFacts, list_nights
from registry.db.promotion import promote, roll_back
from registry.db.runs import list_runs
from registry.db.work_models import Night
from registry.errors import PromotionError
from registry.refresh.canaries import ask_canaries
from registry.refresh.due import last_due, next_due
from registry.refresh.night import NightWatch
from registry.refresh.schedule import clock
from registry.retrieval.filters import Filters
from registry.retrieval.finder import Finder
from registry.retrieval.given_values import Paging
from tests.builders import add_adapter, add_encoder, axis
from tests.crawler.builders import DAY_SECONDS, FIRST_DAY, add_entry
from tests.encoder.builders import make_factors, write_adapter
from tests.registry.conftest import GOOD

NAMES = ["cat", "dog", "fox", "owl"]
FIRST = datetime(2026, 1, 1, 3, tzinfo=UTC)
DAY = timedelta(days=1)
PATIENCE_SECONDS = 240


def add(folder: Path, name: str, number: int) -> dict[str, Any]:
    entry = add_entry(folder, name)
    write_adapter(folder / entry["file"], make_factors(100 + number))
    return entry


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    folder = tmp_path / "zoo"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        add(folder, name, number)
    with serve(folder) as hub:
        yield hub


@pytest.fixture
def settings(settings: Settings, hub: Hub, database_url: str) -> Settings:
    changed = {"modelscope_endpoint": hub.endpoint, "database_url": database_url}
    return settings.model_copy(update=changed)


@cache
def text_encoder() -> TextEncoder:
    return load_text_encoder()


def watch(sessions: sessionmaker[Session], settings: Settings, **changed: Any) -> NightWatch:
    settings = settings.model_copy(update=changed)
    return NightWatch(sessions, BlobStore(settings.blobs), settings, text_encoder())


@pytest.fixture
def finder(sessions: sessionmaker[Session], settings: Settings) -> Finder:
    return Finder(settings, sessions, BlobStore(settings.blobs), text_encoder())


def do_night(night_watch: NightWatch, due_at: datetime) -> None:
    for _ in night_watch.run(due_at):
        pass


def nights(sessions: sessionmaker[Session]) -> list[NightFacts]:
    """Return all nights, the last first."""
    with sessions() as session:
        return list_nights(session)


def found(finder: Finder, text: str) -> list[str]:
    page = finder.search(text, Filters(), Paging())
    return [result.card.name for result in page.results]


def test_a_night_shows_in_search_what_changed_at_the_hub(
    sessions: sessionmaker[Session], settings: Settings, hub: Hub, finder: Finder
) -> None:
    do_night(watch(sessions, settings), FIRST)
    assert sorted(found(finder, "a thing")) == ["The cat", "The dog", "The fox", "The owl"]
    bear = add(hub.folder, "bear", 4)
    dog = {
        **hub.entries[1],
        "display_name": "The wolf",
        "updated_at": FIRST_DAY + 9 * DAY_SECONDS,
    }
    hub.entries = [hub.entries[0], hub.entries[3], bear, dog]

    do_night(watch(sessions, settings, full_listing_days=0), FIRST + DAY)

    assert sorted(found(finder, "a thing")) == ["The bear", "The cat", "The owl", "The wolf"]
    [second, first] = nights(sessions)
    assert (first.state, second.state) == ("done", "done")
    assert first.report["states"] == {"ready": 4}
    assert second.report["states"] == {"gone": 1, "ready": 4}
    [source] = second.report["sources"]
    assert source["full"]
    assert source["counts"]["fetch"] == {"ok": 1, "failed": 0}
    assert second.report["fetched_bytes"] == hub.size(bear["file"])
    # Four adapters teach nothing: no lesson is noted, and every night tries again.
    for night in (first, second):
        assert night.report["learn"]["demo-flux-tiny"].keys() == {"outcome"}
        assert "are needed" in night.report["learn"]["demo-flux-tiny"]["outcome"]
    parts = {"refresh", "learn", "forget", "analyze", "canaries"}
    assert second.report["seconds"].keys() == parts


def test_a_night_in_which_nothing_changed_does_nothing(
    sessions: sessionmaker[Session], settings: Settings, hub: Hub
) -> None:
    do_night(watch(sessions, settings), FIRST)
    before = changes(sessions)
    hub.requests.clear()

    do_night(watch(sessions, settings), FIRST + DAY)

    # The listing, and what changed last, which may have changed again in the same second.
    paths = [path for _, path, _ in hub.requests]
    assert all("/dolphin/models" in path or "/alice/owl" in path for path in paths)
    assert not any("FilePath=" in path or "covers" in path for path in paths)
    [source] = nights(sessions)[0].report["sources"]
    assert not source["full"]
    nothing = {"ok": 0, "failed": 0}
    counts = source["counts"]
    assert counts.pop("crawl", nothing)["failed"] == 0
    assert all(count == nothing for count in counts.values())
    assert source["fetched_bytes"] == 0
    assert changes(sessions) == before


def changes(sessions: sessionmaker[Session]) -> dict[str, Any]:
    with sessions() as session:
        return dict(session.execute(select(Adapter.repo, Adapter.changed_at)).all())


def test_of_two_who_would_do_a_night_one_does(
    sessions: sessionmaker[Session], settings: Settings
) -> None:
    one, other = watch(sessions, settings), watch(sessions, settings)
    running = one.run(FIRST)
    next(running)

    assert list(other.run(FIRST)) == []
    # Nor does the next one begin while this one is at work.
    assert list(other.run(FIRST + DAY)) == []
    assert [night.state for night in nights(sessions)] == ["running"]

    for _ in running:
        pass
    assert list(other.run(FIRST)) == []
    assert [(night.state, night.attempts) for night in nights(sessions)] == [("done", 1)]


KILLED = """
import os, signal, sys
from datetime import datetime
from registry.blobs import BlobStore
from registry.config import Settings
from registry.db.session import open_database
from encoder.text_encoder import TextEncoder, load_text_encoder
from registry.refresh.night import NightWatch

settings = Settings()
with open_database(settings) as sessions:
    watch = NightWatch(sessions, BlobStore(settings.blobs), settings, load_text_encoder())
    for progress in watch.run(datetime.fromisoformat(sys.argv[1])):
        if progress.step.name == "read" and progress.done == 2:
            os.kill(os.getpid(), signal.SIGKILL)
"""


def environment(settings: Settings) -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "OMP_NUM_THREADS": "1",
        "REGISTRY_HOME": str(settings.home),
        "REGISTRY_DATABASE_URL": str(settings.database_url),
        "REGISTRY_MODELSCOPE_ENDPOINT": settings.modelscope_endpoint,
    }


@pytest.mark.timeout(900)
def test_a_night_that_was_killed_is_caught_up(
    sessions: sessionmaker[Session], settings: Settings, hub: Hub, finder: Finder
) -> None:
    words = [sys.executable, "-c", KILLED, FIRST.isoformat()]
    done = subprocess.run(words, env=environment(settings), capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert [night.state for night in nights(sessions)] == ["interrupted"]
    with sessions() as session:
        assert [run.state for run in list_runs(session, before_id=None, limit=5)] == ["interrupted"]
    hub.requests.clear()

    do_night(watch(sessions, settings), FIRST)

    [night] = nights(sessions)
    assert (night.state, night.attempts) == ("done", 2)
    assert night.report["states"] == {"ready": 4}
    assert len(found(finder, "a thing")) == 4
    # What the killed one had fetched is not fetched again.
    assert [path for _, path, _ in hub.requests if "FilePath=" in path] == []
    with sessions() as session:
        states = session.scalars(select(CrawlRun.state).order_by(CrawlRun.id)).all()
    assert states == ["failed", "done"]


def test_a_night_that_never_comes_to_its_end_is_given_up(
    sessions: sessionmaker[Session], settings: Settings
) -> None:
    for _ in range(MOST_ATTEMPTS):
        running = watch(sessions, settings).run(FIRST)
        next(running)
        running.close()
    assert [night.state for night in nights(sessions)] == ["interrupted"]

    assert list(watch(sessions, settings).run(FIRST)) == []

    [night] = nights(sessions)
    assert (night.state, night.error) == ("failed", f"interrupted {MOST_ATTEMPTS} times")


def test_a_source_that_fails_does_not_keep_others_from_theirs(
    sessions: sessionmaker[Session], settings: Settings, hub: Hub
) -> None:
    do_night(watch(sessions, settings, sources=["/no/such/folder", hub.endpoint]), FIRST)

    [night] = nights(sessions)
    bad, good = night.report["sources"]
    assert night.state == "done"
    assert "/no/such/folder" in bad["error"]
    assert good["error"] is None
    assert night.report["states"] == {"ready": 4}


def test_what_nobody_foresaw_in_a_source_does_not_keep_others_from_theirs(
    sessions: sessionmaker[Session],
    settings: Settings,
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("maybe")

    monkeypatch.setattr(FolderSource, "list_adapters", broken)

    do_night(watch(sessions, settings, sources=[str(tmp_path), hub.endpoint]), FIRST)

    [night] = nights(sessions)
    bad, good = night.report["sources"]
    assert (night.state, good["error"]) == ("done", None)
    assert "KeyError: 'maybe'" in bad["error"]
    assert night.report["states"] == {"ready": 4}


def test_vectors_that_no_search_uses_are_deleted(
    sessions: sessionmaker[Session], settings: Settings
) -> None:
    """Each search would walk over them: those of replaced encoders, and of texts of old covers."""
    with sessions.begin() as session:
        encoders = {
            name: add_encoder(session, name=name, active=False, metrics=GOOD)
            for name in ("first", "second", "serving", "tried")
        }
        texts = [("a fox", axis(0)), ("an old fox", axis(1))]
        adapter = add_adapter(session, captions=texts, state="gone")
        for encoder in encoders.values():
            row = {"file_sha256": adapter.file_sha256, "encoder_id": encoder.id}
            session.add(WeightEmbedding(**row, embedding=axis(0)))
        session.flush()
        for name in ("first", "second", "serving"):
            promote(session, name)
        session.execute(delete(Caption).where(Caption.text == "an old fox"))
        # For who goes back to the model that wrote it.
        session.execute(update(Caption).values(superseded=True))

    do_night(watch(sessions, settings, sources=["/no/such/folder"]), FIRST)

    with sessions.begin() as session:
        used = session.scalars(select(Encoder.name).join(WeightEmbedding).distinct())
        assert set(used) == {"second", "serving", "tried"}
        assert nights(sessions)[0].report["forget"] == {"weights": 1, "captions": 1}
        fallback = roll_back(session, "demo-flux-tiny")
        assert fallback
        assert fallback.name == "second"
        session.add(Sketch(file_sha256=adapter.file_sha256, version="1", data=b""))
        session.flush()
        with pytest.raises(PromotionError, match="run `autolora encoders backfill first` first"):
            roll_back(session, "demo-flux-tiny")


def test_canaries_tell_what_is_not_found_any_more(
    sessions: sessionmaker[Session], settings: Settings, finder: Finder
) -> None:
    do_night(watch(sessions, settings), FIRST)
    [night] = nights(sessions)
    canaries = night.report["canaries"]
    assert (canaries["recall"], canaries["recall_before"], canaries["lost"]) == (1.0, None, [])
    assert len(canaries["questions"]) == 4
    # As if one had meant an adapter that is here, but is of another base model than searched.
    changed = canaries["questions"][0]
    changed["base_model"] = "sdxl-1.0"

    again = ask_canaries(sessions, finder, canaries)

    assert (again["recall"], again["recall_before"]) == (0.75, 1.0)
    assert again["lost"] == [changed["text"]]


def test_an_adapter_that_is_gone_is_no_canary_any_more(
    sessions: sessionmaker[Session], settings: Settings, finder: Finder
) -> None:
    do_night(watch(sessions, settings), FIRST)
    before = nights(sessions)[0].report["canaries"]
    with sessions.begin() as session:
        session.get_one(Adapter, before["questions"][0]["adapter_id"]).state = "gone"

    again = ask_canaries(sessions, finder, before)

    assert again["lost"] == []
    assert len(again["questions"]) == 3


@pytest.mark.parametrize(
    ("now", "due"),
    [
        ("2026-03-02T02:59:59+00:00", "2026-03-01T03:00:00+00:00"),
        ("2026-03-02T03:00:00+00:00", "2026-03-02T03:00:00+00:00"),
        # The same for replicas whose machines have another time.
        ("2026-03-02T04:00:00+02:00", "2026-03-01T03:00:00+00:00"),
    ],
)
def test_a_night_is_due_at_its_hour_of_utc(now: str, due: str) -> None:
    moment, expected = datetime.fromisoformat(now), datetime.fromisoformat(due)

    assert last_due(time(3), moment) == expected
    assert next_due(time(3), moment) == expected + DAY


@pytest.mark.parametrize(
    ("hour", "is_made_up_for"),
    [
        # Of the day on which the night of three o'clock was done: another hour adds none.
        (FIRST + timedelta(hours=2), True),
        (FIRST - timedelta(hours=2), True),
        # The machine was off the day after.
        (FIRST + DAY, False),
    ],
)
def test_a_night_that_was_missed_is_made_up_for_by_one_of_another_hour(
    sessions: sessionmaker[Session], hour: datetime, is_made_up_for: bool
) -> None:
    with sessions.begin() as session:
        night_id = db_nights.begin(session, FIRST)
        assert night_id is not None
        assert not db_nights.is_made_up_for(session, hour)  # it is not over yet

        db_nights.finish(session, night_id, {}, None)

        assert db_nights.is_made_up_for(session, hour) is is_made_up_for
        # Whoever waits for that hour has its night done.
        assert not db_nights.is_over(session, hour)


def test_a_night_that_was_done_while_the_clock_was_ahead_stands_for_no_other(
    sessions: sessionmaker[Session],
) -> None:
    """Else none were done, and none could be compared with the last, until that year comes."""
    now = datetime.now(UTC)
    for due_at, report in ((now + 400 * DAY, {"learn": "ahead"}), (now, {"learn": "now"})):
        with sessions.begin() as session:
            assert not db_nights.is_made_up_for(session, now)
            night_id = db_nights.begin(session, due_at)
            assert night_id is not None
            db_nights.finish(session, night_id, report, None)

    with sessions.begin() as session:
        assert db_nights.is_made_up_for(session, now)
        assert db_nights.find_last_report(session) == {"learn": "now"}


def test_what_was_listed_while_the_clock_was_ahead_is_listed_again(
    sessions: sessionmaker[Session], settings: Settings
) -> None:
    do_night(watch(sessions, settings), FIRST)
    with sessions.begin() as session:
        session.execute(update(CrawlRun).values(started_at=func.now() + 400 * DAY))

    do_night(watch(sessions, settings), FIRST + DAY)

    [source] = nights(sessions)[0].report["sources"]
    assert source["full"]


def test_the_clock_looks_at_once() -> None:
    """A night that was missed is done at the start, whatever the hour."""
    looked = threading.Event()

    with clock(time(3), looked.set):
        assert looked.wait(PATIENCE_SECONDS)


@pytest.mark.timeout(900)
def test_of_two_schedulers_one_acts(sessions: sessionmaker[Session], settings: Settings) -> None:
    words = [sys.executable, "-m", "registry", "schedule"]
    processes = [
        subprocess.Popen(words, env=environment(settings), stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        waiting = threading.Event()
        for _ in range(PATIENCE_SECONDS * 2):
            if any(night.state == "done" for night in nights(sessions)):
                break
            waiting.wait(0.5)
        for process in processes:
            process.terminate()
        said = [process.communicate(timeout=PATIENCE_SECONDS)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], said
    assert [(night.state, night.attempts) for night in nights(sessions)] == [("done", 1)]
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(CrawlRun)) == 1
        assert session.scalar(select(func.count()).select_from(Night)) == 1
