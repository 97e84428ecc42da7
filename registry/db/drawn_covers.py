"""Covers that were drawn here, of adapters that came without any: which wait, and what came of it.

They are apart from the covers of hubs and folders: what writes captions, learns from pictures or
compares them never meets one. A base draws what a name says even where its adapter does nothing, so
such a picture would bear witness to the name alone.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Select,
    any_,
    delete,
    exists,
    func,
    literal,
    null,
    or_,
    select,
)
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from registry.db.adapters import Origin, label, of_origin
from registry.db.models import Adapter, Base, Cover, File
from registry.text.hub_prompts import clean_prompt

# Runs in which a cover may fail before it is given up; who asks for that one has it tried again.
MOST_FAILURES = 3


class DrawnCover(Base):
    """A cover that was drawn here, or why there is none."""

    __tablename__ = "drawn_covers"

    adapter_id: Mapped[int] = mapped_column(
        ForeignKey("adapters.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    # The adapter's file by then: with another one it is drawn anew.
    file_sha256: Mapped[str]
    # All five, or none where it failed.
    sha256: Mapped[str | None]
    thumbnail_sha256: Mapped[str | None]
    width: Mapped[int | None]
    height: Mapped[int | None]
    recipe: Mapped[dict[str, Any] | None]
    failures: Mapped[int] = mapped_column(server_default=sql("0"))
    # Why it failed the last time, for people.
    reason: Mapped[str | None]
    tried_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        CheckConstraint(
            "num_nulls(sha256, thumbnail_sha256, width, height, recipe) IN (0, 5) "
            "AND (sha256 IS NULL) = (reason IS NOT NULL)",
            name="drawn_or_failed",
        ),
    )


@dataclass(frozen=True, slots=True)
class DrawnFacts:
    """A cover that was drawn here."""

    adapter_id: int
    sha256: str
    thumbnail_sha256: str
    width: int
    height: int
    recipe: dict[str, Any]


class WaitingCover(NamedTuple):
    """An adapter without a cover, and what it is called in reports."""

    adapter_id: int
    adapter: str
    base_model: str


class Wanted(NamedTuple):
    """Whose covers are to be drawn: of these base models, and of one origin or of all.

    What was tried at `before` or later is left out, for what failed waits for another run.
    """

    base_models: Collection[str]
    before: datetime
    origin: Origin | None = None


def count_waiting(session: Session, wanted: Wanted) -> int:
    """Return how many adapters wait for a cover."""
    waiting = _waiting(wanted).subquery()
    return session.scalars(select(func.count()).select_from(waiting)).one()


def list_waiting(
    session: Session, wanted: Wanted, limit: int, *, but: Collection[int] = ()
) -> list[WaitingCover]:
    """Return adapters that wait for a cover, `but` some, what is downloaded most first.

    What was tried in vain comes after the others, the last of all what was tried last: what fails
    for all that come first keeps nobody from the rest.
    """
    tried_at = (
        select(DrawnCover.tried_at)
        .where(DrawnCover.adapter_id == Adapter.id, DrawnCover.file_sha256 == Adapter.file_sha256)
        .scalar_subquery()
    )
    query = _waiting(wanted).where(Adapter.id.not_in(but))
    in_turn = tried_at.nulls_first(), Adapter.downloads.desc(), Adapter.id
    query = query.order_by(*in_turn).limit(limit)
    found = session.execute(query)
    return [WaitingCover(row.id, label(row.repo, row.version), row.base_model) for row in found]


def still_waits(session: Session, wanted: Wanted, adapter_id: int) -> bool:
    return session.execute(_waiting(wanted).where(Adapter.id == adapter_id)).first() is not None


def _waiting(wanted: Wanted) -> Select[int, str, str, str]:
    settled = exists().where(
        DrawnCover.adapter_id == Adapter.id,
        DrawnCover.file_sha256 == Adapter.file_sha256,
        or_(
            DrawnCover.sha256.is_not(None),
            DrawnCover.failures >= MOST_FAILURES,
            DrawnCover.tried_at >= wanted.before,
        ),
    )
    query = (
        select(Adapter.id, Adapter.repo, Adapter.version, Adapter.base_model)
        .join(File, File.sha256 == Adapter.file_sha256)
        .where(
            Adapter.state == "ready",
            Adapter.base_model.in_(wanted.base_models),
            File.state == "stored",
            File.verdict["fusable"].as_boolean(),
            ~exists().where(Cover.adapter_id == Adapter.id),
            ~settled,
        )
    )
    if wanted.origin is None:
        return query
    return query.where(*of_origin(wanted.origin))


def find_prompt(session: Session, adapter_id: int) -> str:
    """Return what a picture was asked for with that is listed and could not be had; "" if none."""
    record = session.scalar(select(Adapter.record).where(Adapter.id == adapter_id)) or {}
    prompts = (clean_prompt(cover.get("prompt") or "") for cover in record.get("covers", ()))
    return next(filter(None, prompts), "")


def store_drawn(session: Session, drawn: DrawnFacts, file_sha256: str) -> None:
    """Store a cover that was drawn with a file, in the place of what was there."""
    _store(session, **asdict(drawn), file_sha256=file_sha256, failures=0)


def store_failure(session: Session, adapter_id: int, reason: str) -> None:
    """Note why a cover could not be drawn; `MOST_FAILURES` runs try it before it is given up."""
    _store_vain(session, adapter_id, reason, failures=1)


def postpone(session: Session, adapter_id: int, reason: str) -> None:
    """Have a cover come after the others that could not be drawn; it is never given up for that."""
    _store_vain(session, adapter_id, reason, failures=0)


def _store_vain(session: Session, adapter_id: int, reason: str, *, failures: int) -> None:
    """Note why a cover could not be drawn, and so many failures more."""
    sha256 = session.scalar(select(Adapter.file_sha256).where(Adapter.id == adapter_id))
    if sha256 is None:
        # It was removed meanwhile.
        return
    before = session.get(DrawnCover, adapter_id)
    if before is not None and before.file_sha256 == sha256:
        failures += before.failures
    facts = {"file_sha256": sha256, "failures": failures, "reason": reason}
    _store(session, adapter_id=adapter_id, **facts)


def _store(session: Session, **columns: Any) -> None:
    """Replace an adapter's row; what is not said is NULL."""
    nothing = dict.fromkeys(("sha256", "thumbnail_sha256", "width", "height", "reason"))
    # None would be JSON's null here.
    said = {**nothing, "recipe": null(), **columns, "tried_at": func.clock_timestamp()}
    statement = insert(DrawnCover).values(**said)
    session.execute(statement.on_conflict_do_update(index_elements=["adapter_id"], set_=said))


def forget_drawn(session: Session, adapter_ids: Collection[int]) -> None:
    """Forget what was drawn for adapters that have a cover of their own now."""
    # One value, however many they are: a statement has 65,535 at most.
    covered = any_(literal(list(adapter_ids), ARRAY(BigInteger)))
    session.execute(delete(DrawnCover).where(DrawnCover.adapter_id == covered))


def load_drawn(session: Session, adapter_ids: Collection[int]) -> dict[int, DrawnFacts]:
    """Return covers that were drawn with the files that the adapters have now."""
    rows = session.scalars(
        select(DrawnCover)
        .join(Adapter, Adapter.id == DrawnCover.adapter_id)
        .where(
            # As an array it is the same statement for any number.
            DrawnCover.adapter_id == any_(literal(list(adapter_ids), ARRAY(BigInteger))),
            DrawnCover.sha256.is_not(None),
            DrawnCover.file_sha256 == Adapter.file_sha256,
        )
    )
    return {row.adapter_id: _facts(row) for row in rows}


def _facts(row: DrawnCover) -> DrawnFacts:
    assert row.sha256 is not None
    assert row.thumbnail_sha256 is not None
    assert row.width is not None
    assert row.height is not None
    assert row.recipe is not None
    return DrawnFacts(
        row.adapter_id, row.sha256, row.thumbnail_sha256, row.width, row.height, row.recipe
    )
