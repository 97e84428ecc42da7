"""Steps shared by real worker processes, which are killed as well."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session, sessionmaker

from crawler.sources.modelscope import ModelScopeSource
from demo.hub.modelscope import serve
from demo.hub.modelscope_facts import Hub
from registry.config import Settings
from registry.db import jobs
from registry.db.encoder_models import Sketch
from registry.db.holds import hold
from registry.db.models import Adapter, Caption, CaptionEmbedding, CrawlRun, File
from registry.db.work_models import JobOutcome, Worker
from registry.refresh.pipeline import Pipeline
from registry.refresh.sharing import AHEAD, share
from registry.refresh.sources import open_source
from registry.refresh.step import StepOutcome
from registry.refresh.steps.fetch import FetchStep, part_by_file
from registry.refresh.steps.read import ReadStep
from registry.refresh.worker import AT_ONCE, QUEUES, SHARED_STEPS
from registry.refresh.worker import Worker as TaskWorker
from registry.service import Registry
from tests.crawler.builders import add_entry
from tests.encoder.builders import make_factors, write_adapter
from tests.registry.test_shared_blobs import URL, bucket, server

__all__ = ["bucket", "server"]

ADAPTERS = 24
SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
# As workers do all that waits, each job's tasks in one.
DO_ALL = """
    WITH done AS (DELETE FROM procrastinate_jobs RETURNING args)
    INSERT INTO job_outcomes (run_id, step, adapter, ok, message, fetched_bytes, hub_failed)
    SELECT (args ->> 'run_id')::bigint, args ->> 'step', args -> 'keys' ->> 0, true, '', 0, false
    FROM done
"""
# Processes that import torch take a while on a busy machine.
PATIENCE_SECONDS = 240


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    folder = tmp_path / "zoo"
    folder.mkdir()
    for number in range(ADAPTERS):
        entry = add_entry(folder, f"thing-{number}")
        write_adapter(folder / entry["file"], make_factors(100 + number))
    with serve(folder) as hub:
        yield hub


@pytest.fixture
def blobs_url(request: pytest.FixtureRequest) -> str | None:
    """Where blobs are shared: in a folder, or with `S3` as parameter in moto's."""
    if getattr(request, "param", None) != "S3":
        return None
    request.getfixturevalue("bucket")
    return URL


@pytest.fixture
def settings(settings: Settings, hub: Hub, database_url: str, blobs_url: str | None) -> Settings:
    changed = {"modelscope_endpoint": hub.endpoint, "database_url": database_url}
    return settings.model_copy(update={**changed, "blobs_url": blobs_url})


@pytest.fixture
def pipeline(sessions: sessionmaker[Session], settings: Settings) -> Pipeline:
    with Registry(settings) as registry:
        return Pipeline(sessions, registry.blobs, settings, registry.text_encoder)


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


@contextmanager
def worker(settings: Settings, home: Path) -> Iterator[subprocess.Popen[str]]:
    """Run `autolora worker` with a home of its own, whose blobs are those of the registry."""
    home.mkdir()
    if settings.blobs_url is None:
        settings.blobs.mkdir(parents=True, exist_ok=True)
        (home / "blobs").symlink_to(settings.blobs)
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "OMP_NUM_THREADS": "1",
        "REGISTRY_HOME": str(home),
        "REGISTRY_DATABASE_URL": str(settings.database_url),
        "REGISTRY_MODELSCOPE_ENDPOINT": settings.modelscope_endpoint,
    }
    if settings.blobs_url is not None:
        environment["REGISTRY_BLOBS_URL"] = settings.blobs_url
    process = subprocess.Popen(
        [sys.executable, "-m", "registry", "worker"],
        env=environment,
        cwd=home,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def count_alive(sessions: sessionmaker[Session]) -> int:
    with sessions() as session:
        return sum(worker.alive for worker in jobs.list_workers(session))


def count_waiting(sessions: sessionmaker[Session], run_id: int) -> int:
    with sessions() as session:
        return jobs.count_waiting(session, run_id, "fetch")


def refresh(pipeline: Pipeline, hub: Hub) -> None:
    with ModelScopeSource(hub.endpoint) as source:
        for _ in pipeline.refresh(source):
            pass


def done_once(sessions: sessionmaker[Session], hub: Hub) -> None:
    """Hold that everything was done, and nothing twice."""
    with sessions() as session:
        assert Counter(session.scalars(select(Adapter.state))) == {"ready": ADAPTERS}
        for table in (File, Sketch, Caption, CaptionEmbedding):
            assert session.scalar(select(func.count()).select_from(table)) == ADAPTERS
        assert session.scalar(select(func.count()).select_from(JobOutcome)) == 0
        assert session.scalar(text("SELECT count(*) FROM procrastinate_jobs")) == 0


@pytest.mark.timeout(900)
@pytest.mark.parametrize("blobs_url", ["folder", "S3"], indirect=True)
def test_two_workers_split_the_work_and_do_nothing_twice(
    pipeline: Pipeline,
    sessions: sessionmaker[Session],
    settings: Settings,
    hub: Hub,
    tmp_path: Path,
) -> None:
    with worker(settings, tmp_path / "one") as one, worker(settings, tmp_path / "two") as two:
        wait_for(lambda: count_alive(sessions) == 2)

        refresh(pipeline, hub)

        said = []
        for process in (one, two):
            process.terminate()
            said.append(process.communicate(timeout=PATIENCE_SECONDS)[1])
            assert process.returncode == 0, said
    done_once(sessions, hub)
    files = [path for _, path, _ in hub.requests if "FilePath=" in path]
    assert len(files) == len(set(files)) == ADAPTERS
    with sessions() as session:
        run = session.scalars(select(CrawlRun)).one()
    ok = {"ok": ADAPTERS, "failed": 0}
    assert run.counts["fetch"] == run.counts["read"] == run.counts["encode"] == ok
    assert run.fetched_bytes == sum(hub.size(entry["file"]) for entry in hub.entries)
    shares = [share_of(own, "read") for own in said]
    assert sum(shares) == ADAPTERS
    assert min(shares) > 0
    assert count_alive(sessions) == 0


def share_of(said: str, step: str) -> int:
    """Return how many tasks of a step a worker did, as it says at its end."""
    last = said.strip().splitlines()[-1]
    return int(last.rpartition(f"{step} ")[2].split()[0].strip(","))


@pytest.mark.timeout(900)
def test_what_a_killed_worker_had_begun_is_done_by_another(
    pipeline: Pipeline,
    sessions: sessionmaker[Session],
    settings: Settings,
    hub: Hub,
    tmp_path: Path,
) -> None:
    def begun() -> bool:
        with sessions() as session:
            query = text("SELECT count(*) FROM procrastinate_jobs WHERE status = 'doing'")
            return bool(session.scalar(query))

    with worker(settings, tmp_path / "one") as one:
        wait_for(lambda: count_alive(sessions) == 1)
        refreshing = threading.Thread(target=refresh, args=[pipeline, hub])
        refreshing.start()
        while True:
            wait_for(begun)
            one.send_signal(signal.SIGSTOP)
            if begun():
                break
            one.send_signal(signal.SIGCONT)
        one.kill()
        one.wait()
        with sessions.begin() as session:
            # As once the silence is over after which its jobs are another's.
            silence = timedelta(seconds=jobs.SILENT_SECONDS)
            session.execute(
                text("UPDATE procrastinate_workers SET last_heartbeat = last_heartbeat - :silence"),
                {"silence": silence},
            )
        with worker(settings, tmp_path / "two") as two:
            refreshing.join(PATIENCE_SECONDS)
            assert not refreshing.is_alive()
            two.terminate()
            said = two.communicate(timeout=PATIENCE_SECONDS)[1]
    done_once(sessions, hub)
    assert share_of(said, "fetch") > 0


def test_a_refresh_whose_workers_are_gone_does_all_itself(
    pipeline: Pipeline, sessions: sessionmaker[Session], settings: Settings, hub: Hub
) -> None:
    with sessions.begin() as session:
        worker_id = jobs.sign_in(session, QUEUES)
        # It was killed a while ago, and will be taken for dead soon.
        silence = timedelta(seconds=jobs.SILENT_SECONDS - 3)
        session.get_one(Worker, worker_id).seen_at -= silence

    refresh(pipeline, hub)

    done_once(sessions, hub)


def test_a_worker_that_died_before_the_clock_was_set_back_is_not_waited_for(
    pipeline: Pipeline, sessions: sessionmaker[Session], hub: Hub
) -> None:
    """It would be until the clock is again where it was."""
    with sessions.begin() as session:
        worker_id = jobs.sign_in(session, QUEUES)
        session.get_one(Worker, worker_id).seen_at += timedelta(hours=1)

    with sessions() as session:
        assert not jobs.has_workers(session, "fetch")
        assert [worker.alive for worker in jobs.list_workers(session)] == [False]
    refresh(pipeline, hub)

    done_once(sessions, hub)


def test_jobs_of_who_died_before_the_clock_was_set_back_are_taken_back(session: Session) -> None:
    begun = """
        WITH worker AS (
            INSERT INTO procrastinate_workers (last_heartbeat)
            VALUES (now() + interval '1 hour') RETURNING id
        )
        INSERT INTO procrastinate_jobs (queue_name, task_name, args, status, worker_id)
        SELECT 'fetch', :task, '{}', 'doing', id FROM worker
    """
    session.execute(text(begun), {"task": jobs.TASK})
    assert jobs.count_stalled(session) == 1

    jobs.take_back_stalled(session)

    assert session.scalars(text("SELECT status FROM procrastinate_jobs")).all() == ["todo"]


@pytest.mark.timeout(900)
def test_workers_judge_by_what_the_refresh_asks_for(
    sessions: sessionmaker[Session], settings: Settings, hub: Hub, tmp_path: Path
) -> None:
    """As somebody who types --base-model does, of which their own settings say nothing."""
    hub.entries = [{**entry, "base_model": SDXL} for entry in hub.entries[:2]]
    asked = settings.model_copy(update={"crawl_base_models": ["sdxl-1.0"]})
    with Registry(asked) as registry:
        asking = Pipeline(sessions, registry.blobs, asked, registry.text_encoder)
    with worker(settings, tmp_path / "one"), closing(open_source(hub.endpoint, asked)) as source:
        wait_for(lambda: count_alive(sessions) == 1)
        for _ in asking.refresh(source):
            pass

    with sessions() as session:
        refusals = session.scalars(select(Adapter.refusal)).all()
    assert len(refusals) == 2
    assert all("its file is for demo-flux-tiny" in (refusal or "") for refusal in refusals)


@pytest.mark.parametrize(
    ("size", "parts"),
    [(1, [["1", "3"], ["2"], ["4"], ["5"]]), (2, [["1", "3"], ["2", "4"], ["5"]])],
)
def test_adapters_of_one_file_are_one_task(size: int, parts: list[list[str]]) -> None:
    """Two workers would fetch it twice, or wait for each other."""
    rows = [(1, "ab"), (2, "cd"), (3, "ab"), (4, None), (5, None)]

    assert list(part_by_file(rows, size)) == parts


def test_what_somebody_holds_is_left_to_him(
    pipeline: Pipeline, sessions: sessionmaker[Session], settings: Settings, hub: Hub
) -> None:
    with ModelScopeSource(hub.endpoint) as source:
        with sessions.begin() as session:
            run_id = add_run(session)
        step = ReadStep(pipeline.context(source, run_id))
        key = "ab" * 32
        with sessions.begin() as session:
            session.add(File(sha256=key, size=1))
            session.flush()
            session.add(listed(key))
        with hold(sessions.kw["bind"], "read", [key]) as mine:
            assert mine == [key]
            assert list(step.do_alone([key])) == []
        # Nobody holds it any more; its blob is not here, which is told once.
        assert [outcome.ok for outcome in step.do_alone([key])] == [False]
        assert list(step.do_alone([key])) == []


def test_few_jobs_of_many_wait_at_a_time(
    pipeline: Pipeline, sessions: sessionmaker[Session], settings: Settings, hub: Hub
) -> None:
    """Who looks what waits walks over all of them, twice a second."""

    class ManyStep(FetchStep):
        def list_keys(self, size: int) -> Iterator[list[str]]:
            return ([str(number)] for number in range(AHEAD + 5))

    with sessions.begin() as session:
        run_id, worker_id = add_run(session), jobs.sign_in(session, ["fetch"])
    done = list[str]()

    def wait_for_jobs(count: int) -> None:
        def are_handed_out() -> bool:
            with sessions.begin() as session:
                jobs.beat(session, worker_id)
                return jobs.count_waiting(session, run_id, "fetch") == count

        wait_for(are_handed_out)

    with closing(open_source(hub.endpoint, settings)) as source:
        step = ManyStep(pipeline.context(source, run_id))
        sharing = threading.Thread(
            target=lambda: done.extend(outcome.adapter for outcome in share(step))
        )
        sharing.start()
        for count in (AHEAD, 5, 0):
            wait_for_jobs(count)
            with sessions.begin() as session:
                session.execute(text(DO_ALL))
        sharing.join()

    assert sorted(done, key=int) == [str(number) for number in range(AHEAD + 5)]


def test_a_worker_begins_all_the_jobs_that_it_takes(
    pipeline: Pipeline,
    sessions: sessionmaker[Session],
    settings: Settings,
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a machine of one core, too: one that waits for a thread would be taken for lost."""
    met = threading.Barrier(AT_ONCE["fetch"], timeout=PATIENCE_SECONDS / 2)

    class TogetherStep(FetchStep):
        def do(self, keys: Sequence[str]) -> Iterator[StepOutcome]:
            met.wait()
            yield StepOutcome(keys[0])

    monkeypatch.setitem(SHARED_STEPS, "fetch", TogetherStep)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    with sessions.begin() as session:
        run_id = add_run(session)
        told = [
            jobs.Job(run_id, "fetch", "modelscope", hub.endpoint, [str(number)], [])
            for number in range(AT_ONCE["fetch"])
        ]
        jobs.hand_out(session, "fetch", told)
    worker = TaskWorker(pipeline, sessions, settings, ["fetch"])
    working = threading.Thread(target=worker.run)
    working.start()
    try:
        wait_for(lambda: not count_waiting(sessions, run_id))
    finally:
        worker.stop()
        working.join()

    with sessions.begin() as session:
        outcomes = jobs.take_outcomes(session, run_id, "fetch")
    assert [outcome.ok for outcome in outcomes] == [True] * AT_ONCE["fetch"]


def test_a_job_that_kills_its_workers_is_given_up(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        run_id = add_run(session)
        jobs.hand_out(
            session, "read", [jobs.Job(run_id, "read", "folder", "/x", ["some file"], [])]
        )
    for attempt in range(jobs.MOST_ATTEMPTS):
        with sessions.begin() as session:
            assert jobs.count_waiting(session, run_id, "read") == 1
            session.execute(text("UPDATE procrastinate_jobs SET status = 'doing'"))
            jobs.take_back_stalled(session)
            assert (attempt + 1 < jobs.MOST_ATTEMPTS) == bool(
                jobs.count_waiting(session, run_id, "read")
            )
    with sessions.begin() as session:
        [outcome] = jobs.take_outcomes(session, run_id, "read")
    assert (outcome.adapter, outcome.ok) == ("some file", False)


def test_the_jobs_of_a_refresh_that_was_killed_are_forgotten(
    sessions: sessionmaker[Session],
) -> None:
    with sessions.begin() as session:
        run_id = add_run(session)
        jobs.hand_out(session, "read", [jobs.Job(run_id, "read", "folder", "/x", ["a"], [])])
        jobs.forget_the_killed(session)
        assert jobs.count_waiting(session, run_id, "read") == 1
        session.get_one(CrawlRun, run_id).state = "failed"
        session.flush()
        jobs.forget_the_killed(session)
        assert jobs.count_waiting(session, run_id, "read") == 0


def test_outcomes_are_taken_once_and_in_order_however_many_they_are(
    sessions: sessionmaker[Session],
) -> None:
    """A statement has 65,535 values at most."""
    many = 70_000
    with sessions.begin() as session:
        run_id = add_run(session)
        session.execute(
            text(
                "INSERT INTO job_outcomes"
                " (run_id, step, adapter, ok, message, fetched_bytes, hub_failed)"
                " SELECT :run_id, 'read', n, true, '', 0, false FROM generate_series(1, :many) n"
            ),
            {"run_id": run_id, "many": many},
        )
        assert jobs.take_outcomes(session, run_id, "fetch") == []
        outcomes = jobs.take_outcomes(session, run_id, "read")
        assert [outcome.adapter for outcome in outcomes] == [str(n + 1) for n in range(many)]
        assert jobs.take_outcomes(session, run_id, "read") == []


def add_run(session: Session) -> int:
    run = CrawlRun(hub="folder", endpoint="/x")
    session.add(run)
    session.flush()
    return run.id


def listed(sha256: str) -> Adapter:
    facts = {"hub": "folder", "endpoint": "/x", "repo": "a", "version": "", "file_name": "a"}
    words = {"name": "a", "author": "", "description": "", "page_url": "", "base_model": "unknown"}
    now = func.now()
    return Adapter(
        **facts,
        **words,
        trigger_words=[],
        tags=[],
        downloads=0,
        hub_created_at=now,
        hub_updated_at=now,
        file_sha256=sha256,
    )
