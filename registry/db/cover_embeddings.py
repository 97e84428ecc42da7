"""Covers in the space of an image encoder: which are missing, stored, and found by an index."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, exists, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry.db.adapters import label
from registry.db.holds import lock_of
from registry.db.models import HNSW, Adapter, Cover, CoverEmbedding

# With fewer, comparing all takes some 10 ms, and an index would have to be built for nothing.
LEAST_INDEXED = 10_000


class PendingCover(NamedTuple):
    """A picture to embed, named after one of the adapters whose cover it is."""

    sha256: str
    adapter: str


def count_to_embed(session: Session, image_encoder: str) -> int:
    return (
        session.scalar(
            select(func.count(Cover.sha256.distinct()))
            .join(Adapter, Adapter.id == Cover.adapter_id)
            .where(*_missing(image_encoder))
        )
        or 0
    )


def keys_to_embed(session: Session, image_encoder: str, after: str, limit: int) -> list[str]:
    """Return pictures (sha256) above `after` that have no embedding yet, each once."""
    query = (
        select(Cover.sha256)
        .distinct()
        .join(Adapter, Adapter.id == Cover.adapter_id)
        .where(Cover.sha256 > after, *_missing(image_encoder))
    )
    return list(session.scalars(query.order_by(Cover.sha256).limit(limit)))


def list_to_embed(
    session: Session, image_encoder: str, hashes: Collection[str]
) -> list[PendingCover]:
    """Return those of `hashes` that have no embedding yet."""
    rows = session.execute(
        select(Cover.sha256, Adapter.repo, Adapter.version)
        .join(Adapter, Adapter.id == Cover.adapter_id)
        .where(Cover.sha256.in_(hashes), *_missing(image_encoder))
        .order_by(Cover.sha256, Cover.id.desc())
    )
    named = {row.sha256: label(row.repo, row.version) for row in rows}
    return [PendingCover(sha256, adapter) for sha256, adapter in named.items()]


def store(session: Session, image_encoder: str, embeddings: Mapping[str, Sequence[float]]) -> None:
    """Store embeddings by the sha256 of their covers."""
    rows: list[dict[str, Any]] = [
        {"sha256": sha256, "image_encoder": image_encoder, "embedding": embedding}
        for sha256, embedding in embeddings.items()
    ]
    session.execute(insert(CoverEmbedding).on_conflict_do_nothing(), rows)


def build_index(session: Session, image_encoder: str) -> None:
    """Make the index of an encoder's embeddings, once there are many; it grows by itself.

    Encoders differ in their number of dimensions and an index has one: so each has its own. Who
    finds another process at it leaves it to that one.
    """
    own = CoverEmbedding.image_encoder == image_encoder
    many = select(CoverEmbedding.sha256).where(own).limit(LEAST_INDEXED).subquery()
    if (session.scalar(select(func.count()).select_from(many)) or 0) < LEAST_INDEXED:
        return
    dim = session.scalar(select(func.vector_dims(CoverEmbedding.embedding)).where(own).limit(1))
    name = hashlib.sha256(image_encoder.encode()).hexdigest()[:12]
    # Of two who make an index of one name at once, the second waits for the first, and fails then.
    if not session.scalar(select(func.pg_try_advisory_xact_lock(lock_of("index", name)))):
        return
    settings = ", ".join(f"{key} = {value}" for key, value in HNSW.items())
    # An encoder's name has no signs but letters, digits, points and dashes.
    assert "'" not in image_encoder
    session.execute(
        text(
            f"CREATE INDEX IF NOT EXISTS ix_cover_embeddings_{name} ON cover_embeddings "
            f"USING hnsw ((embedding::halfvec({dim})) halfvec_cosine_ops) "
            f"WITH ({settings}) WHERE image_encoder = '{image_encoder}'"
        )
    )


def _missing(image_encoder: str) -> tuple[ColumnElement[bool], ...]:
    made = exists().where(
        CoverEmbedding.sha256 == Cover.sha256, CoverEmbedding.image_encoder == image_encoder
    )
    return Adapter.state.in_(["listed", "ready"]), ~made
