"""Reports of refreshes, and the cursors they go on from."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry.db.adapters import Origin
from registry.db.models import CrawlCursor, CrawlRun


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A refresh as people see it; `error` says why it failed."""

    id: int
    hub: str
    started_at: datetime
    finished_at: datetime | None
    state: str
    counts: dict[str, Any]
    error: str | None


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


def finish_run(session: Session, run_id: int, counts: dict[str, Any], error: str | None) -> None:
    session.execute(
        update(CrawlRun)
        .where(CrawlRun.id == run_id)
        .values(
            state="failed" if error else "done",
            finished_at=datetime.now(UTC),
            counts=counts,
            error=error,
        )
    )


def list_runs(session: Session, *, before_id: int | None, limit: int) -> list[RunFacts]:
    """Return refreshes, newest first."""
    query = select(CrawlRun)
    if before_id is not None:
        query = query.where(CrawlRun.id < before_id)
    return [
        RunFacts(
            run.id,
            run.hub,
            run.started_at,
            run.finished_at,
            run.state,
            run.counts,
            run.error,
        )
        for run in session.scalars(query.order_by(CrawlRun.id.desc()).limit(limit))
    ]


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
