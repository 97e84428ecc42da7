"""A refresh that is stopped: by a full disk or bucket, Ctrl-C, a kill, a dead database."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from crawler.sources.modelscope import ModelScopeSource
from demo.hub.modelscope_facts import Hub
from encoder.text_encoder import TextEncoder
from registry.blobs import BlobStore
from registry.config import Settings
from registry.db.embedded import EmbeddedPostgres
from registry.db.models import CrawlRun
from registry.db.session import open_database
from registry.errors import BlobStoreError, DatabaseLostError, DiskFullError
from registry.refresh.pipeline import Pipeline
from registry.refresh.steps.crawl import CrawlStep
from registry.refresh.steps.fetch import FetchStep
from registry.shared_blobs import SharedBlobStore
from tests.registry.refresh.pipeline.facts import (
    EVERYTHING,
    NAMES,
    NAMES_OF_STEPS,
    downloads,
    failures,
    last_run,
    row_counts,
    states,
)


def test_a_full_disk_stops_the_run_with_one_line_and_the_next_one_goes_on(
    pipeline: Pipeline,
    source: ModelScopeSource,
    sessions: sessionmaker[Session],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(DiskFullError, match="Free some") as caught:
            list(pipeline.refresh(source))
    assert "\n" not in str(caught.value)
    run = last_run(sessions)
    assert (run.state, run.error) == ("failed", str(caught.value))

    assert failures(list(pipeline.refresh(source))) == {}
    assert row_counts(sessions) == EVERYTHING


def test_a_bucket_that_takes_nothing_stops_the_run_and_nothing_is_downloaded_again(
    sessions: sessionmaker[Session],
    settings: Settings,
    text_encoder: TextEncoder,
    source: ModelScopeSource,
    hub: Hub,
    tmp_path: Path,
) -> None:
    """The right to write to it has lapsed, or its quota is full; what it has it still says."""
    bucket, away = tmp_path / "bucket", tmp_path / "away"
    bucket.mkdir()
    blobs = SharedBlobStore(settings.blobs, bucket.as_uri())
    pipeline = Pipeline(sessions, blobs, settings, text_encoder)
    bucket.rename(away)
    # Nothing is found below it, and nothing can be made.
    bucket.symlink_to(tmp_path / "nowhere")

    with pytest.raises(BlobStoreError, match="Check REGISTRY_BLOBS_URL") as caught:
        list(pipeline.refresh(source, steps=(CrawlStep, FetchStep)))
    run = last_run(sessions)
    assert (run.state, run.error) == ("failed", str(caught.value))
    assert downloads(hub)

    bucket.unlink()
    away.rename(bucket)
    assert failures(list(pipeline.refresh(source))) == {}
    assert row_counts(sessions) == EVERYTHING
    assert set(Counter(downloads(hub)).values()) == {1}


def test_an_interrupted_fetch_goes_on_where_it_stopped(
    pipeline: Pipeline, source: ModelScopeSource, sessions: sessionmaker[Session], hub: Hub
) -> None:
    """Ctrl-C: the consumer's loop ends in the middle."""
    refresh = pipeline.refresh(source)
    for step in refresh:
        if step.step.name == "fetch" and step.done == 2:
            break
    refresh.close()
    assert last_run(sessions).error == "interrupted"
    asked = set(downloads(hub))

    list(pipeline.refresh(source))

    assert row_counts(sessions) == EVERYTHING
    assert len(downloads(hub)) == 4, f"none twice: {asked}"


KILLED = """
import os, signal, sys
from pathlib import Path
from crawler.sources.modelscope import ModelScopeSource
from encoder.adapter import placing
from encoder.text_encoder import load_text_encoder
from registry.blobs import BlobStore
from registry.config import Settings
from registry.db.session import open_database
from registry.refresh.pipeline import Pipeline

endpoint, kill_step = sys.argv[1:]
settings = Settings()
with open_database(settings) as sessions:
    source = ModelScopeSource(endpoint)
    pipeline = Pipeline(sessions, BlobStore(settings.blobs), settings, load_text_encoder())
    for progress in pipeline.refresh(source):
        if progress.step.name == kill_step and progress.done == 2:
            os.kill(os.getpid(), signal.SIGKILL)
"""


# Six processes that import torch take 10 s on an idle machine, and minutes on a busy one.
@pytest.mark.timeout(900)
def test_a_process_killed_in_any_step_loses_and_doubles_nothing(
    pipeline: Pipeline,
    source: ModelScopeSource,
    sessions: sessionmaker[Session],
    settings: Settings,
    database_url: str,
    hub: Hub,
) -> None:
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[4]),
        "OMP_NUM_THREADS": "1",
        "REGISTRY_HOME": str(settings.home),
        "REGISTRY_DATABASE_URL": database_url,
        "REGISTRY_ENCODER_CHECKPOINT": str(settings.encoder_checkpoint),
    }
    for step in NAMES_OF_STEPS:
        done = subprocess.run(
            [sys.executable, "-c", KILLED, hub.endpoint, step],
            env=environment,
            capture_output=True,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        assert last_run(sessions).state == "running"

    assert failures(list(pipeline.refresh(source))) == {}

    assert states(sessions) == dict.fromkeys(NAMES, "ready")
    assert row_counts(sessions) == EVERYTHING
    with sessions() as session:
        runs = Counter(session.scalars(select(CrawlRun.state)))
    assert runs == {"failed": 6, "done": 1}
    assert not any((settings.home / "blobs" / "tmp").iterdir())


def test_a_dead_database_stops_the_run_with_one_line(
    source: ModelScopeSource,
    settings: Settings,
    tmp_path: Path,
    text_encoder: TextEncoder,
) -> None:
    """Somebody else's database, which is not ours to start."""
    with EmbeddedPostgres(tmp_path / "dying" / "postgres") as server:
        url = server.url().render_as_string()
        settings = settings.model_copy(update={"database_url": url})
        with open_database(settings) as sessions:
            pipeline = Pipeline(sessions, BlobStore(settings.blobs), settings, text_encoder)
            refresh = pipeline.refresh(source)
            assert any(step.step.name == "fetch" and step.done == 1 for step in refresh)
            pid = (server.data / "postmaster.pid").read_text().split()[0]
            os.kill(int(pid), signal.SIGQUIT)  # it dies at once
            with pytest.raises(DatabaseLostError) as caught:
                list(refresh)
            assert "\n" not in str(caught.value)
            assert "run the same command again" in str(caught.value)
            server.ensure_running()
            assert failures(list(pipeline.refresh(source))) == {}
            assert row_counts(sessions) == EVERYTHING
