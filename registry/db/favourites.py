"""Favourites: adapters that the people of this registry marked, each with a short note."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from registry.db.models import Adapter, Base
from registry.errors import AdapterNotFoundError
from registry.text.word_segmentation import clean


class Favourite(Base):
    """An adapter that was marked, until it is unmarked; refreshes leave it alone."""

    __tablename__ = "favourites"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    adapter_id: Mapped[int] = mapped_column(
        ForeignKey("adapters.id", ondelete="CASCADE"), unique=True
    )
    note: Mapped[str]
    since: Mapped[datetime] = mapped_column(server_default=func.now())


@dataclass(frozen=True, slots=True)
class FavouriteFacts:
    id: int
    adapter_id: int
    note: str
    since: datetime


def store_favourite(session: Session, adapter_id: int, note: str | None) -> FavouriteFacts:
    """Mark an adapter; without a `note` the one that it has stays.

    Raises:
        AdapterNotFoundError: there is none of this id.
    """
    if session.get(Adapter, adapter_id) is None:
        raise AdapterNotFoundError(adapter_id)
    given = insert(Favourite).values(adapter_id=adapter_id, note=clean(note or "").strip())
    kept = Favourite.note if note is None else given.excluded.note
    stored = given.on_conflict_do_update(index_elements=["adapter_id"], set_={"note": kept})
    favourite = session.scalars(
        stored.returning(Favourite), execution_options={"populate_existing": True}
    ).one()
    return _facts(favourite)


def remove_favourite(session: Session, adapter_id: int) -> None:
    """Unmark an adapter, if it is marked."""
    session.execute(delete(Favourite).where(Favourite.adapter_id == adapter_id))


def list_favourites(
    session: Session, *, before_id: int | None = None, limit: int = 20
) -> Sequence[FavouriteFacts]:
    """Return favourites, the last marked first."""
    query = select(Favourite)
    if before_id is not None:
        query = query.where(Favourite.id < before_id)
    found = session.scalars(query.order_by(Favourite.id.desc()).limit(limit))
    return [_facts(favourite) for favourite in found]


def _facts(favourite: Favourite) -> FavouriteFacts:
    return FavouriteFacts(favourite.id, favourite.adapter_id, favourite.note, favourite.since)
