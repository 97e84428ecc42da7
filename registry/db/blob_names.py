"""Which blobs the database counts on."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import CompoundSelect, and_, literal, null, select, union_all
from sqlalchemy.orm import Session

from registry.db.drawn_covers import DrawnCover
from registry.db.encoder_models import Encoder, SketchBasis
from registry.db.models import Adapter, Cover, File
from registry.db.pending import ALIVE
from registry.db.sketch_bases import is_latest

# Rows that come at a time, so that memory does not grow with the index.
ROWS = 5_000


@dataclass(frozen=True, slots=True)
class NamedBlob:
    """A blob that has to be there, its size in bytes where that is known, and what it is."""

    sha256: str
    size: int | None
    what: str


def named_blobs(session: Session) -> Iterator[NamedBlob]:
    """Yield every blob that has to be in the store; one that is named twice comes twice.

    What is not named may be wanted again: an adapter that is gone or refused may come back.
    """
    # A file of adapters that are all gone or refused may have been dropped.
    needed = select(Adapter.id).where(Adapter.file_sha256 == File.sha256, Adapter.state == "ready")
    # Nor does anything fetch or draw their covers again.
    alive = select(Adapter.id).where(ALIVE)
    shown = Cover.adapter_id.in_(alive)
    drawn = and_(DrawnCover.sha256.is_not(None), DrawnCover.adapter_id.in_(alive))
    query: CompoundSelect[*tuple[Any, ...]] = union_all(
        select(File.sha256, File.size, literal("adapter's file").label("what")).where(
            File.state == "stored", needed.exists()
        ),
        select(Cover.sha256, null(), literal("cover")).where(shown),
        select(Cover.thumbnail_sha256, null(), literal("cover")).where(shown),
        select(DrawnCover.sha256, null(), literal("cover")).where(drawn),
        select(DrawnCover.thumbnail_sha256, null(), literal("cover")).where(drawn),
        select(Encoder.checkpoint_sha256, null(), literal("encoder")),
        select(SketchBasis.basis_sha256, null(), literal("sketch basis")).where(is_latest()),
    )
    for row in session.execute(query, execution_options={"yield_per": ROWS}):
        yield NamedBlob(*row)
