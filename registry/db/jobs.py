"""Tasks of the steps as jobs in procrastinate's tables, and the workers that take them."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import any_, delete, func, insert, literal, select, text, update
from sqlalchemy.orm import Session

from registry.db.models import CrawlRun
from registry.db.work_models import JobOutcome, Worker

# The one task that procrastinate knows: to do some tasks of a step.
TASK = "do_tasks"
# How often a worker says that it lives, and after how long a silence it is taken for dead.
BEAT_SECONDS = 5
SILENT_SECONDS = 20
# A job that failed, or whose worker died, so often is given up: the next refresh tries again.
MOST_ATTEMPTS = 4
# Workers that were killed are shown for so long.
_REMEMBERED = text("interval '1 day'")

# Jobs that are begun, and whose worker is silent, removed or was never noted. One that was heard of
# later than now was so before the clock was set back.
_STALLED = """
    FROM procrastinate_jobs job
    LEFT JOIN procrastinate_workers worker ON worker.id = job.worker_id
    WHERE job.status = 'doing' AND (
        worker.id IS NULL OR worker.last_heartbeat NOT BETWEEN
            now() - make_interval(secs => :silent) AND now() + make_interval(secs => :silent)
    )
"""


class Job(NamedTuple):
    """What a worker is told: tasks of a step, of which refresh, and of which hub.

    `base_models` are those that the refresh asks for, whatever the worker's own setting.
    """

    run_id: int
    step: str
    hub: str
    endpoint: str
    keys: list[str]
    base_models: list[str]


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """A worker as people see it."""

    host: str
    pid: int
    queues: list[str]
    started_at: datetime
    seen_at: datetime
    alive: bool


def hand_out(session: Session, queue: str, jobs: Sequence[Job]) -> None:
    """Put jobs into a queue, in the session's transaction."""
    from procrastinate import App, SyncPsycopgConnector

    # The connector is never opened: the session's own connection is used.
    app = App(connector=SyncPsycopgConnector())
    connection = session.connection().connection.driver_connection
    deferrer = app.configure_task(TASK, allow_unknown=True, queue=queue, connection=connection)
    deferrer.batch_defer(*(job._asdict() for job in jobs))


def count_waiting(session: Session, run_id: int, step: str) -> int:
    """Return how many jobs of a step in a refresh are not done yet."""
    query = text(
        """
        SELECT count(*) FROM procrastinate_jobs
        WHERE status IN ('todo', 'doing')
            AND args ->> 'run_id' = :run_id AND args ->> 'step' = :step
        """
    )
    return session.scalar(query, {"run_id": str(run_id), "step": step}) or 0


def take_away(session: Session, run_id: int, step: str) -> None:
    """Remove the jobs of a step in a refresh that nobody has begun."""
    query = text(
        """
        DELETE FROM procrastinate_jobs
        WHERE status = 'todo' AND args ->> 'run_id' = :run_id AND args ->> 'step' = :step
        """
    )
    session.execute(query, {"run_id": str(run_id), "step": step})


def forget_the_killed(session: Session) -> None:
    """Remove jobs and outcomes of refreshes that are over: nobody counts them any more."""
    take_back_stalled(session)
    session.execute(
        text(
            """
            DELETE FROM procrastinate_jobs
            WHERE status = 'todo' AND NOT EXISTS (
                SELECT FROM crawl_runs
                WHERE id = (args ->> 'run_id')::bigint AND state = 'running'
            )
            """
        )
    )
    running = select(CrawlRun.id).where(CrawlRun.state == "running")
    session.execute(delete(JobOutcome).where(JobOutcome.run_id.not_in(running)))


def take_back_stalled(session: Session) -> None:
    """Put the jobs of dead workers back into their queues; give up those that kill workers.

    procrastinate finds such jobs but leaves what becomes of them to its users, and one whose
    worker's row was removed it may not find [1]. A job whose worker is silent, removed or was
    never noted is stalled; that its worker may still live does no harm, for it holds its keys.

    - [1] https://github.com/procrastinate-org/procrastinate/issues/1518
    """
    stalled = session.execute(
        text(f"SELECT job.id, job.attempts, job.args {_STALLED} FOR UPDATE OF job SKIP LOCKED"),
        {"silent": SILENT_SECONDS},
    ).all()
    for job in stalled:
        put_back(session, job.id, job.attempts, job.args)


def count_stalled(session: Session) -> int:
    """Return how many jobs are begun whose worker is dead."""
    counted = session.scalar(text(f"SELECT count(*) {_STALLED}"), {"silent": SILENT_SECONDS})
    return int(counted or 0)


def put_back(session: Session, job_id: int, attempts: int, args: dict[str, Any]) -> None:
    """Let another worker have a job, unless it has been tried too often."""
    if attempts + 1 < MOST_ATTEMPTS:
        retry = text("SELECT procrastinate_retry_job_v2(:id, now(), NULL, NULL, NULL)")
        session.execute(retry, {"id": job_id})
        return
    session.execute(text("SELECT procrastinate_finish_job_v1(:id, 'failed', true)"), {"id": job_id})
    message = f"its worker died {MOST_ATTEMPTS} times; the next refresh tries again"
    job = Job(**args)
    store_outcomes(session, job, [{"adapter": job.keys[0], "ok": False, "message": message}])


def list_begun(
    session: Session, worker_ids: Sequence[int]
) -> list[tuple[int, int, dict[str, Any]]]:
    """Return id, attempts and arguments of the jobs that some of procrastinate's workers do."""
    query = text(
        """
        SELECT id, attempts, args FROM procrastinate_jobs
        WHERE status = 'doing' AND worker_id = ANY(:ids)
        """
    )
    return list(session.execute(query, {"ids": list(worker_ids)}))


def store_outcomes(session: Session, job: Job, outcomes: Sequence[dict[str, Any]]) -> None:
    """Note what came of a job's tasks; nothing where its refresh is over and forgotten."""
    alive = select(CrawlRun.id).where(CrawlRun.id == job.run_id, CrawlRun.state == "running")
    if not outcomes or session.scalar(alive) is None:
        return
    defaults = {"fetched_bytes": 0, "hub_failed": False, "run_id": job.run_id, "step": job.step}
    session.execute(insert(JobOutcome), [{**defaults, **outcome} for outcome in outcomes])


def take_outcomes(session: Session, run_id: int, step: str) -> list[JobOutcome]:
    """Return what came of tasks since this was last asked, in the order of their ends."""
    mine = (JobOutcome.run_id == run_id, JobOutcome.step == step)
    taken = session.scalars(delete(JobOutcome).where(*mine).returning(JobOutcome))
    return sorted(taken, key=lambda outcome: outcome.id)


def count_by_queue(session: Session) -> dict[str, int]:
    """Return how many jobs each queue holds that are not done."""
    query = text(
        """
        SELECT queue_name, count(*) FROM procrastinate_jobs
        WHERE status IN ('todo', 'doing') GROUP BY queue_name ORDER BY queue_name
        """
    )
    return dict(session.execute(query).all())


def sign_in(session: Session, queues: Sequence[str]) -> int:
    """Note that this process works; return its number."""
    session.execute(delete(Worker).where(Worker.seen_at < func.now() - _REMEMBERED))
    worker = Worker(host=socket.gethostname(), pid=os.getpid(), queues=list(queues))
    session.add(worker)
    session.flush()
    return worker.id


def beat(session: Session, worker_id: int) -> None:
    session.execute(update(Worker).where(Worker.id == worker_id).values(seen_at=func.now()))


def sign_out(session: Session, worker_id: int) -> None:
    session.execute(delete(Worker).where(Worker.id == worker_id))


def has_workers(session: Session, queue: str) -> bool:
    """Whether somebody works on a queue now."""
    query = select(Worker.id).where(_is_alive(), literal(queue) == any_(Worker.queues)).limit(1)
    return session.scalar(query) is not None


def list_workers(session: Session) -> list[WorkerFacts]:
    """Return the workers of the last day, but for those that ended well; the latest first."""
    rows = session.execute(
        select(Worker, _is_alive().label("alive")).order_by(Worker.id.desc())
    ).all()
    return [
        WorkerFacts(
            row.Worker.host,
            row.Worker.pid,
            row.Worker.queues,
            row.Worker.started_at,
            row.Worker.seen_at,
            row.alive,
        )
        for row in rows
    ]


def _is_alive() -> Any:
    # Who lives says so again soon after the clock was set back; what the dead said is ahead of it.
    silence = func.make_interval(0, 0, 0, 0, 0, 0, SILENT_SECONDS)
    return Worker.seen_at.between(func.now() - silence, func.now() + silence)
