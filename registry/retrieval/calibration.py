"""What similarities mean in an index: measured on it, with its own captions as questions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from encoder.arrays import Floats
from registry.db.encoder_models import Encoder, WeightEmbedding
from registry.db.models import Adapter, Caption, CaptionEmbedding, Cover
from registry.retrieval.encoder_spaces import QueryEncoder
from registry.retrieval.ranking import Calibration
from registry.retrieval.strangers import between

# Adapters drawn: a mean over 500 x 500 pairs is exact to a hundredth of the deviation, whatever
# the index holds.
SAMPLE = 500
# Fewer say nothing of means and deviations: the defaults stay.
FEWEST = 30
# Fewer do not even show that an encoder tells nothing apart: one of chance has .5, give or take .1.
FEWEST_TELLING = 8


def calibrate(session: Session, encoder: Encoder, loaded: QueryEncoder) -> Calibration:
    """Return how similar captions are to the weights and captions of other adapters.

    Of each adapter drawn, one caption and its weight embedding by `encoder` are compared with
    all others'. The same adapters give the same result, in whichever order they and their covers
    came.
    """
    rows = session.execute(_draw_adapters(encoder)).all()
    if len(rows) < FEWEST_TELLING:
        return Calibration()
    weights, captions = _rows([row.weights for row in rows]), _rows([row.caption for row in rows])
    by_weights = loaded.encode_query(captions) @ weights.T
    if len(rows) < FEWEST:
        return Calibration(telling=_telling(by_weights))
    return Calibration(
        weights=between(_off_diagonal(by_weights)),
        captions=between(_off_diagonal(loaded.encode_caption_query(captions) @ captions.T)),
        telling=_telling(by_weights),
    )


def _draw_adapters(encoder: Encoder) -> Select[Any, Any]:
    """Ask for some adapters' weight embeddings, each with the embedding of one caption."""
    first = (Cover.position, Caption.text_md5)
    drawn = (
        select(
            Adapter.file_sha256,
            WeightEmbedding.embedding.label("weights"),
            CaptionEmbedding.embedding.label("caption"),
            func.row_number().over(partition_by=Adapter.id, order_by=first).label("place"),
        )
        .join(WeightEmbedding, WeightEmbedding.file_sha256 == Adapter.file_sha256)
        .join(Cover, Cover.adapter_id == Adapter.id)
        .join(Caption, Caption.cover_id == Cover.id)
        .join(CaptionEmbedding, CaptionEmbedding.text_md5 == Caption.text_md5)
        .where(
            Adapter.state.in_(["listed", "ready"]),
            WeightEmbedding.encoder_id == encoder.id,
            CaptionEmbedding.text_encoder == encoder.text_encoder,
            Caption.superseded.is_(False),
        )
        .subquery()
    )
    return (
        select(drawn.c.weights, drawn.c.caption)
        .where(drawn.c.place == 1)
        # An order by hash is as good as random, and the same each time.
        .order_by(drawn.c.file_sha256)
        .limit(SAMPLE)
    )


def _telling(similarity: Floats) -> float:
    """Return how often a caption (captions, adapters) is nearer to its own adapter's weights."""
    others = _off_diagonal(similarity).reshape(len(similarity), -1)
    return round(float((np.diagonal(similarity)[:, None] > others).mean()), 4)


def _rows(embeddings: Sequence[object]) -> Floats:
    # halfvec comes with its own type, or as a list, by the driver's adapters.
    return np.stack([np.asarray(embedding, np.float32) for embedding in embeddings])


def _off_diagonal(similarity: Floats) -> Floats:
    others: Floats = similarity[~np.eye(len(similarity), dtype=bool)]
    return others
