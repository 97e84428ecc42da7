"""Reports of nights, and which of them is still to be done."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Engine, and_, case, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from registry.db.holds import Turn, is_held, lock_of
from registry.db.row_facts import facts_of
from registry.db.work_models import Night

# A night that is interrupted so often is given up.
MOST_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class NightFacts:
    """A night as people see it; `report` is as registry.refresh.night writes it.

    `state` is running, done, failed, or interrupted: its process was killed.
    """

    id: int
    due_at: datetime
    started_at: datetime
    finished_at: datetime | None
    state: str
    attempts: int
    report: dict[str, Any]
    error: str | None


@contextmanager
def only_one(engine: Engine) -> Iterator[Turn | None]:
    """Keep others away from nights meanwhile; None where somebody is at one."""
    lock = lock_of("night", "any")
    with engine.connect() as connection:
        is_mine = connection.scalar(select(func.pg_try_advisory_lock(lock)))
        # The lock outlives the transaction, which must not stay open for hours.
        connection.commit()
        try:
            yield Turn(connection, lock) if is_mine else None
        finally:
            # A connection that was lost holds no lock.
            with suppress(DBAPIError):
                connection.execute(select(func.pg_advisory_unlock_all()))
                connection.commit()


def is_over(session: Session, due_at: datetime) -> bool:
    """Whether the night that was due at a moment needs nobody any more."""
    return _any_over(session, Night.due_at == due_at)


def is_made_up_for(session: Session, due_at: datetime) -> bool:
    """Whether a night that nobody waited for needs nobody any more, since another is done.

    It was due less than a day before, or later: nights had another hour then. One that is not due
    for a day or longer was done while the clock was ahead.
    """
    soon = func.now() + timedelta(days=1)
    return _any_over(session, and_(Night.due_at > due_at - timedelta(days=1), Night.due_at <= soon))


def _any_over(session: Session, which: ColumnElement[bool]) -> bool:
    found = select(Night.id).where(which, Night.state.in_(("done", "failed")))
    return session.scalar(found.limit(1)) is not None


def begin(session: Session, due_at: datetime) -> int | None:
    """Begin a night, again if it was interrupted; None when that was so too often.

    Nobody else may be at any (`only_one`). Others that were interrupted are over with that.
    """
    session.execute(
        update(Night)
        .where(Night.state == "running", Night.due_at != due_at)
        .values(state="failed", finished_at=func.now(), error="interrupted")
    )
    new = insert(Night).values(due_at=due_at)
    again = new.on_conflict_do_update(
        index_elements=[Night.due_at], set_={"attempts": Night.attempts + 1}
    )
    night_id, attempts = session.execute(again.returning(Night.id, Night.attempts)).one()
    if attempts <= MOST_ATTEMPTS:
        return int(night_id)
    finish(session, night_id, {}, f"interrupted {MOST_ATTEMPTS} times")
    return None


def finish(session: Session, night_id: int, report: dict[str, Any], error: str | None) -> None:
    session.execute(
        update(Night)
        .where(Night.id == night_id)
        .values(
            state="failed" if error else "done",
            finished_at=func.clock_timestamp(),
            report=report,
            error=error,
        )
    )


def list_nights(
    session: Session, *, before_id: int | None = None, limit: int = 20
) -> list[NightFacts]:
    """Return nights, newest first."""
    open_state = case((is_held(lock_of("night", "any")), "running"), else_="interrupted")
    state = case((Night.state == "running", open_state), else_=Night.state)
    query = select(Night, state)
    if before_id is not None:
        query = query.where(Night.id < before_id)
    rows = session.execute(query.order_by(Night.id.desc()).limit(limit))
    return [_facts(*row) for row in rows]


def _facts(night: Night, state: str) -> NightFacts:
    return facts_of(NightFacts, night, state=state)


def find_last_report(session: Session) -> dict[str, Any] | None:
    """Return the report of the last night that came to its end."""
    # By their order and not by a clock, which may have been ahead.
    return session.scalar(
        select(Night.report).where(Night.state == "done").order_by(Night.id.desc()).limit(1)
    )
