"""The tables of work (who does it, what came of it, nights, images) and of who is let in.

The others are in models.py.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, func
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from registry.db.drawn_covers import DrawnCover
from registry.db.encoder_models import Encoder
from registry.db.favourites import Favourite
from registry.db.models import Base
from registry.db.own_folders import OwnFolder

# Those of models.py as well, and these: whoever imports this knows every table.
MORE = (DrawnCover, Encoder, Favourite, OwnFolder)
ALL_TABLES = Base.metadata


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


class DrawnImage(Base):
    """An image that was asked for: waiting, being drawn, or how that ended."""

    __tablename__ = "images"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    # What was asked for, as whoever asked wrote it.
    asked: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(server_default="waiting")
    # Steps done, of how many; pictures, of a sheet.
    done: Mapped[int] = mapped_column(server_default=sql("0"))
    total: Mapped[int] = mapped_column(server_default=sql("0"))
    # How it was made, and how far each adapter's gates stood open; sheets have neither.
    recipe: Mapped[dict[str, Any] | None]
    activity: Mapped[dict[str, Any] | None]
    # Why there is none: RFC 9457's document.
    problem: Mapped[dict[str, Any] | None]
    # How large its files are together.
    bytes: Mapped[int] = mapped_column(BigInteger, server_default=sql("0"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # When the process that has it to draw was last heard of.
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(
            "state IN ('waiting', 'drawing', 'done', 'failed', 'cancelled', 'interrupted')",
            name="state",
        ),
        Index(
            "ix_images_unfinished", "id", postgresql_where=sql("state IN ('waiting', 'drawing')")
        ),
    )


class ImageFile(Base):
    """A drawn image: its PNG, with its recipe inside, and a small one to show in lists."""

    __tablename__ = "image_files"

    image_id: Mapped[int] = mapped_column(
        ForeignKey("images.id", ondelete="CASCADE"), primary_key=True
    )
    png: Mapped[bytes] = mapped_column(LargeBinary)
    thumbnail: Mapped[bytes] = mapped_column(LargeBinary)


class RequestKey(Base):
    """A request that its sender named, and what was answered, for who sends it again."""

    __tablename__ = "request_keys"

    # The hash of the key and of the token that it came with.
    name: Mapped[str] = mapped_column(primary_key=True)
    request_sha256: Mapped[str]
    # Drawn for each attempt to answer: who was taken for lost changes nothing of who came after.
    owner: Mapped[str] = mapped_column(server_default="")
    # None while the request is being answered.
    status: Mapped[int | None]
    headers: Mapped[dict[str, str]] = mapped_column(JSONB, server_default=sql("'{}'::jsonb"))
    body: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # When who answers it was last heard of.
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (Index("ix_request_keys_created_at", "created_at"),)


class Token(Base):
    """Something that opens this registry to other machines; only its hash is kept."""

    __tablename__ = "tokens"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    name: Mapped[str]
    scopes: Mapped[list[str]]
    sha256: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    revoked_at: Mapped[datetime | None]


class LogIn(Base):
    """A browser that showed a token: it has a secret of its own, of which the hash is kept."""

    __tablename__ = "log_ins"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    token_id: Mapped[int] = mapped_column(ForeignKey("tokens.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[datetime]
