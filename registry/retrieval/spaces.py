"""The spaces that adapters have vectors in, each with the same questions to ask of it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from sqlalchemy import CompoundSelect, Select, select, union_all
from sqlalchemy.orm import Session

from encoder.text_encoder import TextEncoder
from registry.db.encoder_models import Encoder, WeightEmbedding
from registry.db.models import (
    Caption,
    CaptionEmbedding,
    Cover,
    DescriptionEmbedding,
    File,
    Listing,
)
from registry.retrieval.encoder_spaces import ServingEncoder
from registry.retrieval.filters import Filters
from registry.retrieval.ranking import Match, best_of_each
from registry.retrieval.strangers import between
from registry.retrieval.terms import Signal
from registry.retrieval.vector import (
    captions_similarities,
    nearest_by_captions,
    nearest_by_descriptions,
    nearest_by_weights,
    nearest_to_fingerprint,
    weight_embeddings,
    weights_similarities,
)

Vector = npt.NDArray[np.float32]
Vectors = Mapping[int, Vector]

# Adapters whose similarities tell what is usual in a space; by their hashes, so the same each time.
SAMPLE = 256
# In a space of few adapters all may be alike, and no difference of this size says anything.
LEAST_DEVIATION = 0.02


class Space(Protocol):
    """Where adapters and texts have vectors of length 1 that can be compared."""

    @property
    def signal(self) -> Signal: ...

    def vectors(self, session: Session, ids: Collection[int]) -> Vectors:
        """Return the vectors of those adapters that have one."""
        ...

    def of_texts(self, texts: Vector) -> Vector:
        """Bring texts' embeddings (n, dim) here."""
        ...

    def nearest(
        self, session: Session, direction: Vector, filters: Filters, limit: int
    ) -> list[Match]:
        """Return the adapters nearest to a direction (dim,)."""
        ...

    def similarities(
        self, session: Session, direction: Vector, ids: Collection[int]
    ) -> Mapping[int, float]:
        """Return how similar those adapters are that have a vector."""
        ...

    def usual(self, session: Session, direction: Vector) -> tuple[float, float]:
        """Return mean and deviation of the similarities of adapters drawn at random."""
        ...


@dataclass(frozen=True, slots=True)
class WeightSpace:
    """Of what weights do, by the active encoder of some base models."""

    encoder: ServingEncoder
    signal: Signal = "weights"

    def vectors(self, session: Session, ids: Collection[int]) -> Vectors:
        stored = weight_embeddings(session, encoder=self.encoder.name, adapter_ids=ids)
        return {id_: unit(vector) for id_, vector in stored.items()}

    def of_texts(self, texts: Vector) -> Vector:
        return self.encoder.loaded.encode_query(texts)

    def nearest(
        self, session: Session, direction: Vector, filters: Filters, limit: int
    ) -> list[Match]:
        return nearest_by_weights(
            session, direction, encoder=self.encoder.name, filters=filters, limit=limit
        )

    def similarities(
        self, session: Session, direction: Vector, ids: Collection[int]
    ) -> Mapping[int, float]:
        return weights_similarities(session, direction, encoder=self.encoder.name, adapter_ids=ids)

    def usual(self, session: Session, direction: Vector) -> tuple[float, float]:
        own = select(Encoder.id).where(Encoder.name == self.encoder.name).scalar_subquery()
        drawn = (
            select(WeightEmbedding.embedding)
            .where(WeightEmbedding.encoder_id == own)
            .order_by(WeightEmbedding.file_sha256)
            .limit(SAMPLE)
        )
        return usual_similarity(session, drawn, direction)


@dataclass(frozen=True, slots=True)
class CaptionSpace:
    """Of what covers show, in words, or of what is said where none has captions.

    All base models share it.
    """

    text_encoder: TextEncoder
    signal: Signal = "captions"

    def vectors(self, session: Session, ids: Collection[int]) -> Vectors:
        """Return the mean of each adapter's captions: one cover may show what others do not."""
        rows = session.execute(
            select(Cover.adapter_id, CaptionEmbedding.embedding)
            .join(Caption, Caption.cover_id == Cover.id)
            .join(CaptionEmbedding, CaptionEmbedding.text_md5 == Caption.text_md5)
            .where(
                Cover.adapter_id.in_(ids),
                CaptionEmbedding.text_encoder == self.text_encoder.name,
                Caption.superseded.is_(False),
            )
        )
        captions: dict[int, list[Vector]] = {}
        for row in rows:
            captions.setdefault(row.adapter_id, []).append(np.asarray(row.embedding, np.float32))
        described = session.execute(
            select(DescriptionEmbedding.adapter_id, DescriptionEmbedding.embedding).where(
                DescriptionEmbedding.adapter_id.in_(set(ids) - captions.keys()),
                DescriptionEmbedding.text_encoder == self.text_encoder.name,
            )
        )
        captions |= {row.adapter_id: [np.asarray(row.embedding, np.float32)] for row in described}
        return {id_: mean_direction(own) for id_, own in captions.items()}

    def of_texts(self, texts: Vector) -> Vector:
        return texts

    def nearest(
        self, session: Session, direction: Vector, filters: Filters, limit: int
    ) -> list[Match]:
        found = [
            match
            for near in (nearest_by_captions, nearest_by_descriptions)
            for match in near(
                session,
                direction,
                text_encoder=self.text_encoder.name,
                filters=filters,
                limit=limit,
            )
        ]
        return best_of_each(found)[:limit]

    def similarities(
        self, session: Session, direction: Vector, ids: Collection[int]
    ) -> Mapping[int, float]:
        return captions_similarities(
            session, direction, text_encoder=self.text_encoder.name, adapter_ids=ids
        )

    def usual(self, session: Session, direction: Vector) -> tuple[float, float]:
        drawn = union_all(
            *(
                select(table.embedding)
                .where(table.text_encoder == self.text_encoder.name)
                .order_by(table.text_md5)
                .limit(SAMPLE)
                for table in (CaptionEmbedding, DescriptionEmbedding)
            )
        )
        return usual_similarity(session, drawn, direction)


@dataclass(frozen=True, slots=True)
class FingerprintSpace:
    """Of the changes themselves: they tell copies and retrained kin, not what images look like."""

    signal: Signal = "weights"

    def vectors(self, session: Session, ids: Collection[int]) -> Vectors:
        rows = session.execute(
            select(Listing.adapter_id, File.fingerprint)
            .join(File, File.sha256 == Listing.file_sha256)
            .where(Listing.adapter_id.in_(ids), File.fingerprint.is_not(None))
        )
        return {row.adapter_id: unit(np.asarray(row.fingerprint, np.float32)) for row in rows}

    def of_texts(self, texts: Vector) -> Vector:
        """Texts are nowhere here."""
        return texts[:0]

    def nearest(
        self, session: Session, direction: Vector, filters: Filters, limit: int
    ) -> list[Match]:
        return nearest_to_fingerprint(session, direction.tolist(), filters, limit)

    def similarities(
        self, session: Session, direction: Vector, ids: Collection[int]
    ) -> Mapping[int, float]:
        own = self.vectors(session, ids)
        return {id_: float(vector @ direction) for id_, vector in own.items()}

    def usual(self, session: Session, direction: Vector) -> tuple[float, float]:
        drawn = (
            select(File.fingerprint.label("embedding"))
            .where(File.fingerprint.is_not(None))
            .order_by(File.sha256)
            .limit(SAMPLE)
        )
        return usual_similarity(session, drawn, direction)


def usual_similarity(
    session: Session, drawn: Select[Any] | CompoundSelect[Any], direction: Vector
) -> tuple[float, float]:
    """Return mean and deviation of the similarities to a direction (dim,) of what was drawn.

    `drawn` selects a column `embedding`.
    """
    sample = drawn.subquery()
    distances = session.scalars(
        select(sample.c.embedding.cosine_distance(direction.tolist()))
    ).all()
    similarities = 1 - np.asarray(distances, np.float32)
    # Of zeros there is no distance.
    known = similarities[np.isfinite(similarities)]
    if len(known) < 2:
        return 0.0, 1.0
    # By quartiles: some of those drawn are what is asked for, and must not pass for strangers.
    mean, deviation = between(known)
    return mean, max(deviation, LEAST_DEVIATION)


def unit(vector: Vector) -> Vector:
    """Return a vector (dim,) at length 1; one of zeros as it is."""
    length = float(np.linalg.norm(vector))
    return vector / np.float32(length) if length > 0 else vector


def mean_direction(vectors: Sequence[Vector]) -> Vector:
    """Return the mean of directions (dim,), each counting the same."""
    total: Vector = np.mean([unit(vector) for vector in vectors], axis=0, dtype=np.float32)
    return unit(total)
