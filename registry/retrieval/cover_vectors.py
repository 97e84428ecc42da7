"""Covers that an image encoder finds alike."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import cast, select, text
from sqlalchemy.orm import Session

from registry.db.models import Cover, CoverEmbedding, Listing
from registry.retrieval.filters import Filters, conditions
from registry.retrieval.spaces import SAMPLE, usual_similarity

# By how many deviations a cover must be nearer than others are: of covers that have nothing to do
# with a picture, few of a thousand are.
LEAST_ABOVE = 3.0
# Covers that are looked at for each adapter wanted: many have several that look alike.
COVERS_EACH = 6


@dataclass(frozen=True, slots=True)
class AlikeCover:
    adapter_id: int
    position: int
    similarity: float


def find_alike_covers(
    session: Session,
    embedding: npt.NDArray[np.float32],
    image_encoder: str,
    filters: Filters,
    limit: int,
) -> list[AlikeCover]:
    """Return covers nearest to a picture's embedding (dim,), one for each adapter.

    Only those that are clearly nearer than covers usually are.
    """
    vector = embedding.tolist()
    # As the index is declared, that is made once there are many.
    stored = cast(CoverEmbedding.embedding, HALFVEC(len(vector)))
    own = CoverEmbedding.image_encoder == image_encoder
    drawn = (
        select(stored.label("embedding")).where(own).order_by(CoverEmbedding.sha256).limit(SAMPLE)
    )
    mean, deviation = usual_similarity(session, drawn, embedding)
    session.execute(text("SET LOCAL hnsw.iterative_scan = relaxed_order"))
    distance = stored.cosine_distance(vector)
    rows = session.execute(
        select(Cover.adapter_id, Cover.position, distance.label("distance"))
        .select_from(CoverEmbedding)
        .join(Cover, Cover.sha256 == CoverEmbedding.sha256)
        .join(Listing, Listing.adapter_id == Cover.adapter_id)
        .where(own, *conditions(filters))
        .order_by(distance)
        .limit(limit * COVERS_EACH)
    )
    found: dict[int, AlikeCover] = {}
    for row in sorted(rows, key=lambda row: (row.distance, row.adapter_id, row.position)):
        similarity = 1 - row.distance
        if similarity >= mean + LEAST_ABOVE * deviation:
            alike = AlikeCover(row.adapter_id, row.position, similarity)
            found.setdefault(row.adapter_id, alike)
    return list(found.values())[:limit]
