"""How the registry is: what is here, what was refused and why, and what waits for whom."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, literal_column, select
from sqlalchemy.orm import Session

from registry.db import jobs, nights, pending
from registry.db.captions import Wanted, count_waiting
from registry.db.encoders import active_encoders, count_missing
from registry.db.hubs import HubFacts, list_hubs
from registry.db.jobs import WorkerFacts
from registry.db.models import Adapter, File
from registry.db.nights import NightFacts

# Reasons that are shown, most frequent first.
MOST_REASONS = 20


@dataclass(frozen=True, slots=True)
class ActiveEncoder:
    """An encoder that search uses; `missing` files have no embedding by it yet."""

    name: str
    base_model: str
    missing: int


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """Bytes: of the disk of blobs, of the database, and of the adapters' files that are kept."""

    free: int
    total: int
    database: int
    files: int


@dataclass(frozen=True, slots=True)
class Status:
    """Counts of adapters by state, and by reason of those refused and of those withheld.

    Withheld are those listed ones whose hub does not give their files.
    `waiting` are the tasks that each step has left to do, and `queued` those of them that are
    handed out to workers. Images wait for captions only where something is set up to write them.
    """

    states: dict[str, int]
    refusals: dict[str, int]
    withheld: dict[str, int]
    waiting: dict[str, int]
    queued: dict[str, int]
    workers: list[WorkerFacts]
    last_night: NightFacts | None
    hubs: list[HubFacts]
    encoders: list[ActiveEncoder]
    disk: DiskFacts


def load_status(
    session: Session, text_encoder: str, wanted: Sequence[Wanted], room: tuple[int, int]
) -> Status:
    """Return how the registry is.

    `wanted` are the captions that are to be written, if any are; `room` the free bytes of the
    disk that blobs lie on, and all.
    """
    encoders = [
        ActiveEncoder(encoder.name, encoder.base_model, count_missing(session, encoder))
        for encoder in active_encoders(session)
    ]
    uncaptioned = {"caption": sum(count_waiting(session, one) for one in wanted)} if wanted else {}
    return Status(
        states=count_states(session),
        refusals=count_refusals(session),
        withheld=count_withheld(session),
        waiting={
            "fetch": pending.count_to_fetch(session, None),
            "read": pending.count_unread(session),
            **uncaptioned,
            "encode": pending.count_to_encode(session, text_encoder),
            "embed": sum(encoder.missing for encoder in encoders),
        },
        queued=jobs.count_by_queue(session),
        workers=jobs.list_workers(session),
        last_night=next(iter(nights.list_nights(session, limit=1)), None),
        hubs=list_hubs(session),
        encoders=encoders,
        disk=DiskFacts(*room, _database_bytes(session), _kept_bytes(session)),
    )


def count_states(session: Session) -> dict[str, int]:
    query = select(Adapter.state, func.count()).group_by(Adapter.state).order_by(Adapter.state)
    return dict(session.execute(query).all())


def count_refusals(session: Session) -> dict[str, int]:
    """Return how many adapters are refused for each reason, the most frequent first."""
    reason = func.coalesce(Adapter.refusal, "no reason was noted")
    return _count_reasons(session, reason, Adapter.state == "refused")


def count_withheld(session: Session) -> dict[str, int]:
    """Return how many listed adapters their hubs withhold for each reason, likewise."""
    reason = Adapter.record["withheld"].as_string()
    is_withheld = and_(Adapter.state == "listed", Adapter.file_sha256.is_(None), reason != "")
    return _count_reasons(session, reason, is_withheld)


def _count_reasons(
    session: Session, reason: ColumnElement[str], counted: ColumnElement[bool]
) -> dict[str, int]:
    # Counted by their place in the query: a reason's own parameters would make it another one.
    query = select(reason.label("reason"), func.count().label("count")).where(counted)
    rows = session.execute(
        query.group_by(literal_column("1"))
        .order_by(literal_column("count").desc(), literal_column("1"))
        .limit(MOST_REASONS)
    )
    return dict(rows.all())


def _database_bytes(session: Session) -> int:
    return session.scalar(select(func.pg_database_size(func.current_database()))) or 0


def _kept_bytes(session: Session) -> int:
    stored = select(func.coalesce(func.sum(File.size), 0)).where(File.state == "stored")
    return int(session.scalar(stored) or 0)
