"""A process that does tasks of the steps for refreshes elsewhere, until it is told to stop."""

import asyncio
import logging
import signal
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from procrastinate import App, JobContext, PsycopgConnector, RetryStrategy
from procrastinate.exceptions import ConnectorException
from procrastinate.worker import Worker as QueueWorker
from psycopg.conninfo import make_conninfo
from psycopg_pool import PoolTimeout
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session, sessionmaker
from structlog.contextvars import bound_contextvars

from crawler.errors import SourceError
from crawler.records import Source
from registry.config import Settings
from registry.db import jobs
from registry.db.session import one_line_errors, transaction
from registry.errors import DatabaseError, DatabaseLostError, DiskError
from registry.refresh.pipeline import STEPS, Pipeline
from registry.refresh.problems import reported
from registry.refresh.sources import open_source
from registry.refresh.step import RefreshContext, SharedStep, StepOutcome

SHARED_STEPS = {step.name: step for step in STEPS if issubclass(step, SharedStep)}
QUEUES = tuple(dict.fromkeys(step.queue for step in SHARED_STEPS.values()))
# Jobs of a queue at once: downloads wait for the network, all else for a processor.
AT_ONCE = {"fetch": 8}
# A job that failed waits so long for its next try.
RETRY_SECONDS = 5

Tell = Callable[[str], None]


class Worker:
    """Takes jobs from some queues. One process runs one; any number of processes may run."""

    def __init__(
        self,
        pipeline: Pipeline,
        sessions: sessionmaker[Session],
        settings: Settings,
        queues: Sequence[str] = QUEUES,
        tell: Tell = print,
    ) -> None:
        self._pipeline = pipeline
        self._sessions = sessions
        self._settings = settings
        self._queues = tuple(queues)
        self._tell = tell
        self._stopped = threading.Event()
        self._takers: list[QueueWorker] = []
        # The jobs under way here, by their numbers.
        self._under_way: set[int] = set()
        # How many tasks of each step were done here.
        self._done: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._steps = _Steps(pipeline, settings)
        # Why it stopped by itself.
        self._full: DiskError | None = None

    def run(self) -> None:
        """Work until `stop` is called; what is under way then is finished first.

        Raises:
            DiskError: nothing can be stored here; others take what is left.
            DatabaseError: the database is away, and cannot be started.
        """
        # What goes wrong is told by this class, in one line each.
        for name in ("procrastinate", "psycopg.pool", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        with transaction(self._sessions) as session:
            worker_id = jobs.sign_in(session, self._queues)
        beating = threading.Thread(target=self._beat, args=[worker_id], daemon=True)
        beating.start()
        try:
            while not self._stopped.is_set():
                self._wait_for_database()
                asyncio.run(self._take_jobs())
        finally:
            self.stop()
            beating.join()
            self._steps.close()
        with transaction(self._sessions) as session:
            jobs.sign_out(session, worker_id)
        done = ", ".join(f"{step} {self._done[step]}" for step in SHARED_STEPS)
        self._tell(f"stopped; tasks done: {done}")
        if self._full is not None:
            raise self._full

    def stop(self) -> None:
        """Take no more jobs. May be called from a signal handler, and from another thread."""
        self._stopped.set()

    def stop_at_signals(self) -> None:
        """Stop at the first Ctrl-C or SIGTERM; the second one ends the process at once."""

        def stop(number: int, _: Any) -> None:
            signal.signal(number, signal.SIG_DFL)
            self._tell("stopping when the tasks under way are done; once more stops now")
            self.stop()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)

    def _wait_for_database(self) -> None:
        """Return when the database answers; the embedded one is started again if it was killed."""
        told = False
        while not self._stopped.is_set():
            try:
                with self._sessions() as session:
                    session.connection()
                return
            except DBAPIError as error:
                if not told:
                    self._tell(f"{DatabaseLostError(str(error.orig).splitlines()[0])} Waiting.")
                told = True
                self._stopped.wait(1)

    async def _take_jobs(self) -> None:
        """Take jobs until told to stop, or the database goes away."""
        # By default there are four threads more than cores: a job that was taken and waits for one
        # would look as if its end had not been noted.
        threads = sum(AT_ONCE.get(queue, 1) for queue in self._queues)
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(threads))
        try:
            conninfo = _conninfo(self._sessions.kw["bind"])
            app = App(connector=PsycopgConnector(conninfo=conninfo, min_size=1, max_size=8))
            retry = RetryStrategy(max_attempts=jobs.MOST_ATTEMPTS, wait=RETRY_SECONDS)
            app.task(name=jobs.TASK, pass_context=True, retry=retry)(self._do)
            async with app.open_async():
                self._takers = [self._taker(app, queue) for queue in self._queues]
                running = [asyncio.create_task(_run(taker)) for taker in self._takers]
                # A taker that ends before it is told to has lost the database.
                while not (self._stopped.is_set() or any(task.done() for task in running)):
                    await asyncio.wait(running, timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
                for taker in self._takers:
                    taker.stop()  # type: ignore[no-untyped-call]
                await asyncio.gather(*running, return_exceptions=True)
        except (ConnectorException, PoolTimeout, DBAPIError) as error:
            cause = str(error.__cause__ or error).splitlines() or [type(error).__name__]
            self._tell(f"the database connection was lost ({cause[0]})")

    def _taker(self, app: App, queue: str) -> QueueWorker:
        return QueueWorker(
            app,
            queues=[queue],
            name=queue,
            concurrency=AT_ONCE.get(queue, 1),
            delete_jobs="always",
            install_signal_handlers=False,
            update_heartbeat_interval=jobs.BEAT_SECONDS,
            stalled_worker_timeout=jobs.SILENT_SECONDS,
        )

    def _beat(self, worker_id: int) -> None:
        """Say that this process lives, and put the jobs of those that do not back."""
        lost: set[int] = set()
        while not self._stopped.wait(jobs.BEAT_SECONDS):
            try:
                with self._sessions.begin() as session:
                    jobs.beat(session, worker_id)
                    jobs.take_back_stalled(session)
                    lost = self._put_back_lost(session, lost)
            except (DBAPIError, PoolTimeoutError, DatabaseError):
                # The next beat tries again, and whoever takes jobs tells of it.
                continue

    def _put_back_lost(self, session: Session, lost_before: set[int]) -> set[int]:
        """Put back jobs that are said to be done here, and are not; return those seen first now.

        When the database goes away at the end of a job, its end is not noted.
        """
        ids = [taker.worker_id for taker in self._takers if taker.worker_id is not None]
        begun = {row[0]: row for row in jobs.list_begun(session, ids)}
        lost = begun.keys() - self._under_way
        for job_id in lost & lost_before:
            jobs.put_back(session, *begun[job_id])
        return lost - lost_before

    def _do(self, context: JobContext, /, **told: Any) -> None:
        job = jobs.Job(**told)
        with bound_contextvars(run_id=job.run_id, step=job.step):
            self._do_job(context, job)

    def _do_job(self, context: JobContext, job: jobs.Job) -> None:
        """Do a job's tasks. An error is for another try, here or elsewhere."""
        job_id = context.job.id
        assert job_id is not None
        self._under_way.add(job_id)
        outcomes: list[StepOutcome] = []
        failed = None
        try:
            with one_line_errors():
                outcomes.extend(self._steps.get(job).do_alone(job.keys))
        except SourceError as error:
            failed = reported(error)
        except DiskError as error:
            # Others may have room.
            self._full = error
            self.stop()
            raise
        except Exception as error:
            # Any: what breaks a job is tried again, and told when it was tried often enough.
            if context.job.attempts < jobs.MOST_ATTEMPTS:
                raise
            outcomes.append(StepOutcome(job.keys[0], False, reported(error)))
        finally:
            self._under_way.discard(job_id)
        self._report(job, outcomes, failed)

    def _report(self, job: jobs.Job, outcomes: Sequence[StepOutcome], failed: str | None) -> None:
        rows: list[dict[str, Any]] = [
            {
                "adapter": outcome.adapter,
                "ok": outcome.ok,
                "message": outcome.message,
                "fetched_bytes": outcome.fetched_bytes,
            }
            for outcome in outcomes
        ]
        if failed is not None:
            rows.append({"adapter": job.hub, "ok": False, "message": failed, "hub_failed": True})
        for row in rows:
            if not row["ok"]:
                self._tell(f"{row['adapter']}: {row['message']}")
        with self._sessions.begin() as session:
            jobs.store_outcomes(session, job, rows)
        with self._counting:
            self._done[job.step] += len(outcomes)


class _Steps:
    """The steps that jobs are of, with their source open; a refresh's until the next one's."""

    def __init__(self, pipeline: Pipeline, settings: Settings) -> None:
        self._pipeline = pipeline
        self._settings = settings
        self._lock = threading.Lock()
        self._sources: dict[tuple[str, str], Source] = {}
        self._steps: dict[tuple[str, str, str], tuple[int, SharedStep]] = {}

    def get(self, job: jobs.Job) -> SharedStep:
        key = (job.step, job.hub, job.endpoint)
        with self._lock:
            run_id, step = self._steps.get(key, (None, None))
            if step is None or run_id != job.run_id:
                context = self._context(job)
                if step is not None:
                    step.close()
                step = SHARED_STEPS[job.step](context)
                self._steps[key] = (job.run_id, step)
            return step

    def _context(self, job: jobs.Job) -> RefreshContext:
        """Return what the refresh works with, whose options may say otherwise than settings."""
        context = self._pipeline.context(self._source(job), job.run_id)
        asked = {"crawl_base_models": job.base_models}
        return replace(context, settings=context.settings.model_copy(update=asked))

    def _source(self, job: jobs.Job) -> Source:
        key = (job.hub, job.endpoint)
        if key not in self._sources:
            self._sources[key] = open_source(job.endpoint, self._settings)
        return self._sources[key]

    def close(self) -> None:
        for _, step in self._steps.values():
            step.close()
        for source in self._sources.values():
            source.close()


def _conninfo(engine: Engine) -> str:
    """Return the address of the server that the engine reaches now, for another library."""
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        return make_conninfo(**driver.info.get_parameters(), password=driver.info.password or None)


async def _run(taker: QueueWorker) -> None:
    await taker.run()  # type: ignore[no-untyped-call]
