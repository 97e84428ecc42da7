"""The tables of work (who does it, what came of it, the nights) and of who is let in.

The others are in models.py.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, func
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, mapped_column

from registry.db.favourites import Favourite
from registry.db.models import Base

# Those of models.py and favourites.py as well: whoever imports this knows every table.
ALL_TABLES = Favourite.metadata


class Worker(Base):
    """A process that takes jobs of the steps; procrastinate's own table knows only a number."""

    __tablename__ = "workers"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    host: Mapped[str]
    pid: Mapped[int]
    queues: Mapped[list[str]]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())


class JobOutcome(Base):
    """What a worker did for one adapter, until the refresh that handed it out has counted it."""

    __tablename__ = "job_outcomes"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("crawl_runs.id", ondelete="CASCADE"))
    step: Mapped[str]
    adapter: Mapped[str]
    ok: Mapped[bool]
    message: Mapped[str]
    fetched_bytes: Mapped[int] = mapped_column(BigInteger)
    # It is the hub that failed, not one of its adapters: the step ends.
    hub_failed: Mapped[bool]

    __table_args__ = (Index("ix_job_outcomes_run_id_step", "run_id", "step"),)


class Night(Base):
    """One nightly refresh of all sources, by the moment at which it was due."""

    __tablename__ = "nights"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    due_at: Mapped[datetime] = mapped_column(unique=True)
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]
    state: Mapped[str] = mapped_column(server_default="running")
    # How often it was begun: one that was killed is begun again.
    attempts: Mapped[int] = mapped_column(server_default=sql("1"))
    report: Mapped[dict[str, Any]] = mapped_column(server_default=sql("'{}'::jsonb"))
    error: Mapped[str | None]

    __table_args__ = (CheckConstraint("state IN ('running', 'done', 'failed')", name="state"),)


class Token(Base):
    """Something that opens this registry to other machines; only its hash is kept."""

    __tablename__ = "tokens"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    name: Mapped[str]
    scopes: Mapped[list[str]]
    sha256: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    revoked_at: Mapped[datetime | None]
