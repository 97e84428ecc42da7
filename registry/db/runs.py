"""Reports of refreshes, and the cursors they go on from."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from psycopg.errors import LockNotAvailable
from sqlalchemy import ColumnElement, Engine, case, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from registry.db.adapters import Origin
from registry.db.holds import Turn, is_held, lock_of
from registry.db.models import CrawlCursor, CrawlRun
from registry.db.row_facts import facts_of
from registry.errors import RefreshUnderWayError

# How long a refresh waits for another one of the same origin to end.
PATIENCE_SECONDS = 5


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A refresh as people see it; `error` says why it failed.

    `state` is running, done, failed, or interrupted: its process was killed, and no other refresh
    of its origin has begun since. While it runs, `step` is what it is at, with `done` of `total`.
    """

    id: int
    hub: str
    endpoint: str
    started_at: datetime
    finished_at: datetime | None
    state: str
    counts: dict[str, Any]
    seconds: dict[str, float]
    fetched_bytes: int
    error: str | None
    step: str | None
    done: int | None
    total: int | None

    @property
    def indexed(self) -> int:
        """How many adapters became findable."""
        return int(self.counts.get("publish", {}).get("ok", 0))

    @property
    def bytes_per_adapter(self) -> int | None:
        """What the hub sent of files for each of them, refused ones' headers included."""
        return round(self.fetched_bytes / self.indexed) if self.indexed else None


@contextmanager
def only_one(engine: Engine, origin: Origin) -> Iterator[Turn]:
    """Keep other refreshes of an origin away, in any process and on any machine.

    PostgreSQL holds the lock for a connection of its own, so a killed process lets go of it.

    Raises:
        RefreshUnderWayError: another one is at it.
    """
    key = lock_of("refresh", origin.hub, origin.endpoint)
    with engine.connect() as connection:
        try:
            # PostgreSQL may need a moment to see that a killed process is gone.
            connection.execute(text(f"SET LOCAL lock_timeout = '{PATIENCE_SECONDS}s'"))
            connection.execute(select(func.pg_advisory_lock(key)))
        except DBAPIError as error:
            if isinstance(error.orig, LockNotAvailable):
                raise RefreshUnderWayError(origin.hub, origin.endpoint) from error
            raise
        # The lock outlives the transaction, which must not stay open for hours.
        connection.commit()
        try:
            yield Turn(connection, key)
        finally:
            # A connection that was lost holds no lock.
            with suppress(DBAPIError):
                connection.execute(select(func.pg_advisory_unlock(key)))
                connection.commit()


def start_run(session: Session, origin: Origin) -> int:
    """Open a report; one that a killed process left open is closed first."""
    session.execute(
        update(CrawlRun)
        .where(
            CrawlRun.hub == origin.hub,
            CrawlRun.endpoint == origin.endpoint,
            CrawlRun.state == "running",
        )
        .values(state="failed", finished_at=func.now(), error="interrupted")
    )
    run = CrawlRun(**origin._asdict(), started_at=datetime.now(UTC))
    session.add(run)
    session.flush()
    return run.id


def tell(session: Session, run_id: int, step: str, done: int, total: int | None) -> None:
    """Say how far a refresh is."""
    session.execute(
        update(CrawlRun)
        .where(CrawlRun.id == run_id)
        .values(step=step, done=done, total=total, told_at=func.now())
    )


def finish_run(session: Session, run_id: int, *, error: str | None, **report: Any) -> None:
    """Close a report; `report` are its other columns: counts, seconds, fetched_bytes."""
    session.execute(
        update(CrawlRun)
        .where(CrawlRun.id == run_id)
        .values(
            state="failed" if error else "done",
            finished_at=datetime.now(UTC),
            error=error,
            step=None,
            **report,
        )
    )


def find_last_complete(session: Session, origin: Origin) -> int | None:
    """Return the last run in which an origin listed all it has."""
    return session.scalars(
        select(func.max(CrawlRun.id)).where(
            CrawlRun.hub == origin.hub, CrawlRun.endpoint == origin.endpoint, CrawlRun.listed_all
        )
    ).one()


def find_last_complete_time(session: Session, origin: Origin) -> datetime | None:
    """Return when the last listing of all that an origin has began."""
    last = find_last_complete(session, origin)
    return None if last is None else session.get_one(CrawlRun, last).started_at


def mark_complete(session: Session, run_id: int) -> None:
    """Note that the origin of a run has listed all it has."""
    session.execute(update(CrawlRun).where(CrawlRun.id == run_id).values(listed_all=True))


def list_runs(session: Session, *, before_id: int | None, limit: int) -> list[RunFacts]:
    """Return refreshes, newest first."""
    query = select(CrawlRun, state_now())
    if before_id is not None:
        query = query.where(CrawlRun.id < before_id)
    return [
        _facts(*row) for row in session.execute(query.order_by(CrawlRun.id.desc()).limit(limit))
    ]


def get_run(session: Session, run_id: int) -> RunFacts:
    """Return a refresh that there is."""
    return _facts(
        *session.execute(select(CrawlRun, state_now()).where(CrawlRun.id == run_id)).one()
    )


def find_last(session: Session, origin: Origin) -> RunFacts | None:
    """Return the last refresh of an origin, if it was refreshed."""
    query = select(CrawlRun, state_now()).where(
        CrawlRun.hub == origin.hub, CrawlRun.endpoint == origin.endpoint
    )
    row = session.execute(query.order_by(CrawlRun.id.desc()).limit(1)).one_or_none()
    return None if row is None else _facts(*row)


def state_now() -> ColumnElement[str]:
    """A run's state; "interrupted" where its row is open and nobody holds its origin any more."""
    lock = lock_of("refresh", CrawlRun.hub, CrawlRun.endpoint)
    open_state = case((is_held(lock), "running"), else_="interrupted")
    return case((CrawlRun.state == "running", open_state), else_=CrawlRun.state)


def list_interrupted(session: Session) -> list[int]:
    """Return the runs that were killed, and whose origins nobody has refreshed since."""
    query = select(CrawlRun.id).where(CrawlRun.state == "running", state_now() == "interrupted")
    return list(session.scalars(query.order_by(CrawlRun.id)))


def _facts(run: CrawlRun, state: str) -> RunFacts:
    facts = facts_of(RunFacts, run)
    if state == "running":
        return facts
    # What a killed process left at a step is not at it any more.
    return replace(facts, state=state, step=None, done=None, total=None)


def find_cursor(session: Session, origin: Origin) -> datetime | None:
    cursor = session.get(CrawlCursor, tuple(origin))
    return None if cursor is None else cursor.updated_since


def move_cursor(session: Session, origin: Origin, updated_since: datetime) -> None:
    """Move a cursor forward; a full crawl, which starts from the beginning, leaves it."""
    moved = insert(CrawlCursor).values(**origin._asdict(), updated_since=updated_since)
    session.execute(
        moved.on_conflict_do_update(
            index_elements=[CrawlCursor.hub, CrawlCursor.endpoint],
            set_={
                "updated_since": func.greatest(
                    CrawlCursor.updated_since, moved.excluded.updated_since
                )
            },
        )
    )


def forget_cursor(session: Session, origin: Origin) -> None:
    """Have the next refresh of an origin list everything."""
    session.execute(
        delete(CrawlCursor).where(
            CrawlCursor.hub == origin.hub, CrawlCursor.endpoint == origin.endpoint
        )
    )
