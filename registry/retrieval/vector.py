"""Adapters near an embedding: by what their weights do, by what their covers show.

Answers are approximate, for HNSW may miss a true neighbour; where it finds fewer than asked
for, though, what there is is compared one by one.
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Select, func, select, text
from sqlalchemy.orm import Session

from registry.db.models import (
    EMBEDDING_DIM,
    Adapter,
    Caption,
    CaptionEmbedding,
    Cover,
    Encoder,
    File,
    Listing,
    WeightEmbedding,
)
from registry.retrieval.errors import EmbeddingDimensionError
from registry.retrieval.filters import Filters, conditions
from registry.retrieval.ranking import Match

Embedding = npt.NDArray[np.float32]

# pgvector's default of 40 neighbours a scan costs recall as soon as more are asked for;
# https://github.com/pgvector/pgvector#query-options
EF_SEARCH = 100
# How far an iterative scan looks for what passes the filters, before it gives up: pgvector's
# default of 20,000 is less than a rare base model in an index of millions needs.
MAX_SCAN_TUPLES = 100_000
# An adapter has several covers with several captions, and only the best counts: so many
# captions are fetched for every adapter wanted.
CAPTIONS_PER_ADAPTER = 6


def nearest_by_weights(
    session: Session, embedding: Embedding, *, encoder: str, filters: Filters, limit: int
) -> list[Match]:
    """Return up to `limit` adapters whose weights, in `encoder`'s space, are most similar.

    `embedding` (dim,) lies in that space: a query goes through `encode_query` first.
    """
    _scan_until_filled(session)
    distance = WeightEmbedding.embedding.cosine_distance(_vector(embedding))
    wanted = (
        _with_weights(encoder)
        .add_columns(distance.label("distance"))
        .where(*conditions(filters))
        .limit(limit)
    )
    rows = session.execute(wanted.order_by(distance)).all()
    if len(rows) < limit:
        # No index has this expression. Hundreds of equal vectors, each other's only
        # neighbours, can hide the rest from a scan of the index; mostly there are no more.
        rows = session.execute(wanted.order_by(distance + 0)).all()
    return _ordered([Match(row.id, 1.0 - row.distance) for row in rows])


def nearest_by_fingerprint(
    session: Session, adapter_id: int, filters: Filters, limit: int
) -> list[Match] | None:
    """Return up to `limit` adapters whose change has the most similar direction, estimated.

    The adapter itself is among them; None where it has no fingerprint.
    """
    own = session.scalar(
        select(File.fingerprint)
        .join(Adapter, Adapter.file_sha256 == File.sha256)
        .where(Adapter.id == adapter_id)
    )
    if own is None:
        return None
    _scan_until_filled(session)
    distance = File.fingerprint.cosine_distance(own)
    rows = session.execute(
        select(Listing.adapter_id.label("id"), distance.label("distance"))
        .select_from(File)
        .join(Listing, Listing.file_sha256 == File.sha256)
        .where(*conditions(filters), File.fingerprint.is_not(None))
        .order_by(distance)
        .limit(limit)
    ).all()
    return _ordered([Match(row.id, 1.0 - row.distance) for row in rows])


def nearest_by_captions(
    session: Session, embedding: Embedding, *, text_encoder: str, filters: Filters, limit: int
) -> list[Match]:
    """Return up to `limit` adapters by their cover that suits `embedding` (dim,) best."""
    _scan_until_filled(session)
    distance = CaptionEmbedding.embedding.cosine_distance(_vector(embedding))
    nearest = (
        _with_captions(text_encoder)
        .add_columns(distance.label("distance"))
        .where(*conditions(filters))
        .order_by(distance)
        .limit(limit * CAPTIONS_PER_ADAPTER)
        .subquery()
    )
    best = func.min(nearest.c.distance)
    rows = session.execute(
        select(nearest.c.id, best.label("distance")).group_by(nearest.c.id).order_by(best)
    ).all()
    if len(rows) < limit:
        best = func.min(distance)
        rows = session.execute(
            _with_captions(text_encoder)
            .add_columns(best.label("distance"))
            .where(*conditions(filters))
            .group_by(Listing.adapter_id)
            .order_by(best)
            .limit(limit)
        ).all()
    return _ordered([Match(row.id, 1.0 - row.distance) for row in rows])[:limit]


def weights_similarities(
    session: Session, embedding: Embedding, *, encoder: str, adapter_ids: Collection[int]
) -> dict[int, float]:
    """Return the exact similarity of those of `adapter_ids` that have an embedding."""
    distance = WeightEmbedding.embedding.cosine_distance(_vector(embedding))
    rows = session.execute(
        _with_weights(encoder)
        .add_columns(distance.label("distance"))
        .where(Listing.adapter_id.in_(adapter_ids))
    )
    return {row.id: 1.0 - row.distance for row in rows}


def captions_similarities(
    session: Session, embedding: Embedding, *, text_encoder: str, adapter_ids: Collection[int]
) -> dict[int, float]:
    """Return the exact similarity of the best cover, for those that have a caption."""
    distance = CaptionEmbedding.embedding.cosine_distance(_vector(embedding))
    rows = session.execute(
        _with_captions(text_encoder)
        .add_columns(func.min(distance).label("distance"))
        .where(Listing.adapter_id.in_(adapter_ids))
        .group_by(Listing.adapter_id)
    )
    return {row.id: 1.0 - row.distance for row in rows}


def weight_embeddings(
    session: Session, *, encoder: str, adapter_ids: Collection[int]
) -> dict[int, Embedding]:
    """Return the stored embeddings (dim,) of those of `adapter_ids` that have one."""
    rows = session.execute(
        _with_weights(encoder)
        .add_columns(WeightEmbedding.embedding.label("embedding"))
        .where(Listing.adapter_id.in_(adapter_ids))
    )
    return {row.id: np.asarray(row.embedding, np.float32) for row in rows}


def _with_weights(encoder: str) -> Select[int]:
    return (
        select(Listing.adapter_id.label("id"))
        .select_from(WeightEmbedding)
        .join(Listing, Listing.file_sha256 == WeightEmbedding.file_sha256)
        # A subquery rather than a join: with its value known, the plan stays one index scan.
        .where(
            WeightEmbedding.encoder_id
            == select(Encoder.id).where(Encoder.name == encoder).scalar_subquery()
        )
    )


def _with_captions(text_encoder: str) -> Select[int]:
    return (
        select(Listing.adapter_id.label("id"))
        .select_from(CaptionEmbedding)
        .join(Caption, Caption.text_md5 == CaptionEmbedding.text_md5)
        .join(Cover, Cover.id == Caption.cover_id)
        .join(Listing, Listing.adapter_id == Cover.adapter_id)
        .where(CaptionEmbedding.text_encoder == text_encoder, Caption.superseded.is_(False))
    )


def _scan_until_filled(session: Session) -> None:
    """Filters run after the index scan; without this a rare base model loses its hits."""
    session.execute(text("SET LOCAL hnsw.iterative_scan = strict_order"))
    session.execute(text(f"SET LOCAL hnsw.ef_search = {EF_SEARCH}"))
    session.execute(text(f"SET LOCAL hnsw.max_scan_tuples = {MAX_SCAN_TUPLES}"))


def _vector(embedding: Embedding) -> list[Any]:
    if embedding.shape != (EMBEDDING_DIM,):
        raise EmbeddingDimensionError(embedding.size, EMBEDDING_DIM)
    return [float(value) for value in embedding]


def _ordered(matches: Sequence[Match]) -> list[Match]:
    """Order equals by id: in the index their order is that of insertion."""
    return sorted(matches, key=lambda match: (-match.score, match.adapter_id))
