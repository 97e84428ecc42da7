"""A question -> adapters: every signal asked, their answers merged."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
from sqlalchemy.orm import Session

from encoder.text_encoder import TextEncoder
from registry.search.filters import Filters
from registry.search.ranking import Match, SearchHit, Signal, merge
from registry.search.vector import (
    captions_similarities,
    nearest_by_captions,
    nearest_by_weights,
    weights_similarities,
)
from registry.search.words import exact_adapters, matching_adapters

# Every signal offers so many adapters to the merge. Beyond 100 places the reciprocal rank
# adds less than the difference of two places near the top.
DEPTH = 100


class QueryEncoder(Protocol):
    """What search needs of a weight encoder; `encoder.checkpoint.load_encoder` gives one."""

    def encode_query(self, embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Bring text embeddings (n, dim) into the space of the weight embeddings."""
        ...


@dataclass(frozen=True, slots=True)
class ServingEncoder:
    """A weight encoder under the name that its embeddings have in the database."""

    name: str
    loaded: QueryEncoder

    def encode_query(self, embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return self.loaded.encode_query(embeddings)


@dataclass(frozen=True, slots=True)
class SearchQuery:
    text: str
    filters: Filters
    limit: int = 10
    # Fewer than all three to measure one alone.
    signals: Sequence[Signal] = ("weights", "captions", "words")


def search(
    session: Session,
    query: SearchQuery,
    text_encoder: TextEncoder,
    encoder: ServingEncoder | None,
) -> list[SearchHit]:
    """Return up to `query.limit` adapters, best first, with every signal's score.

    `encoder` is the active one of the query's base model; without it the weights take no
    part. The session needs to be in no particular transaction: settings are local to it.
    """
    embedding = text_encoder.encode([query.text])[0]
    projected = None if encoder is None else encoder.encode_query(embedding[np.newaxis])[0]
    depth = max(DEPTH, query.limit)
    lists: dict[Signal, list[Match]] = {}
    if "weights" in query.signals and encoder is not None and projected is not None:
        lists["weights"] = nearest_by_weights(
            session, projected, encoder=encoder.name, filters=query.filters, limit=depth
        )
    if "captions" in query.signals:
        lists["captions"] = nearest_by_captions(
            session,
            embedding,
            text_encoder=text_encoder.name,
            filters=query.filters,
            limit=depth,
        )
    exact: list[int] = []
    if "words" in query.signals:
        lists["words"] = matching_adapters(session, query.text, filters=query.filters, limit=depth)
        exact = exact_adapters(session, query.text, filters=query.filters, limit=query.limit)
    hits = merge(lists, limit=query.limit, exact=exact)

    # An adapter that one signal found far down in another's list still has a score there,
    # which a person wants to see.
    for signal in lists:
        missing = [hit.adapter_id for hit in hits if hit.signals[signal] is None]
        if not missing:
            continue
        scores: dict[int, float] = {}
        if signal == "weights" and encoder is not None and projected is not None:
            scores = weights_similarities(
                session, projected, encoder=encoder.name, adapter_ids=missing
            )
        elif signal == "captions":
            scores = captions_similarities(
                session, embedding, text_encoder=text_encoder.name, adapter_ids=missing
            )
        hits = [_with_score(hit, signal, scores.get(hit.adapter_id)) for hit in hits]
    return hits


def _with_score(hit: SearchHit, signal: Signal, score: float | None) -> SearchHit:
    if hit.signals[signal] is not None:
        return hit
    return replace(hit, signals=hit.signals | {signal: score})
