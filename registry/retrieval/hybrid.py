"""A question -> adapters: every signal asked, their answers merged."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from sqlalchemy import select
from sqlalchemy.orm import Session

from encoder.text_encoder import TextEncoder
from registry.db.models import Adapter
from registry.retrieval.duplicates import contents
from registry.retrieval.filters import Filters
from registry.retrieval.ranking import (
    DEFAULT_CALIBRATION,
    PLAIN_CALIBRATION,
    Calibration,
    Match,
    SearchHit,
    Signal,
    fold,
    rank,
)
from registry.retrieval.vector import (
    captions_similarities,
    nearest_by_captions,
    nearest_by_weights,
    weights_similarities,
)
from registry.retrieval.words import exact_adapters, matching_adapters

# How many adapters every signal offers to the merge.
DEPTH = 100
# How many hits are looked at for each one wanted, to fold those that hold the same tensors.
FOLDING = 5


class QueryEncoder(Protocol):
    """What search needs of a weight encoder; `load_encoder` of its checkpoint gives one."""

    def encode_query(self, embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Bring text embeddings (n, dim) into the space of the weight embeddings."""
        ...

    def encode_caption_query(self, embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Turn text embeddings (n, dim) so that they compare with captions' as adapters differ."""
        ...


@dataclass(frozen=True, slots=True)
class ServingEncoder:
    """A weight encoder under the name that its embeddings have in the database."""

    name: str
    loaded: QueryEncoder
    calibration: Calibration = DEFAULT_CALIBRATION

    def encode_query(self, embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return self.loaded.encode_query(embeddings)

    def encode_caption_query(self, embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return self.loaded.encode_caption_query(embeddings)


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

    `encoder` is the active one of the query's base model; without it the weights take no part,
    and captions are compared plainly. The session needs to be in no particular transaction:
    settings are local to it.
    """
    embedding = text_encoder.encode([query.text])
    projected = None if encoder is None else encoder.encode_query(embedding)[0]
    aimed = (embedding if encoder is None else encoder.encode_caption_query(embedding))[0]
    depth = max(DEPTH, query.limit)
    filters = query.filters
    lists: dict[Signal, list[Match]] = {}
    if "weights" in query.signals and encoder is not None and projected is not None:
        lists["weights"] = nearest_by_weights(
            session, projected, encoder=encoder.name, filters=filters, limit=depth
        )
    if "captions" in query.signals:
        lists["captions"] = nearest_by_captions(
            session, aimed, text_encoder=text_encoder.name, filters=filters, limit=depth
        )
    exact: list[int] = []
    if "words" in query.signals:
        lists["words"] = matching_adapters(session, query.text, filters=filters, limit=depth)
        exact = exact_adapters(session, query.text, filters=filters, limit=query.limit)
    scores = {signal: {m.adapter_id: m.score for m in own} for signal, own in lists.items()}
    ids = {id_ for own in scores.values() for id_ in own} | set(exact)
    # An adapter that one signal found far down in another's list still has a score there.
    if encoder is not None and projected is not None and "weights" in scores:
        scores["weights"] |= weights_similarities(
            session, projected, encoder=encoder.name, adapter_ids=ids - scores["weights"].keys()
        )
    if "captions" in scores:
        scores["captions"] |= captions_similarities(
            session,
            aimed,
            text_encoder=text_encoder.name,
            adapter_ids=ids - scores["captions"].keys(),
        )
    hits = rank(
        scores,
        encoder.calibration if encoder is not None else PLAIN_CALIBRATION,
        positions={
            signal: {match.adapter_id: place for place, match in enumerate(own, start=1)}
            for signal, own in lists.items()
        },
        exact=exact,
        downloads=_downloads(session, ids),
    )
    # Only the head can reach the page: copies of an adapter stand near each other.
    head = hits[: query.limit * FOLDING]
    return fold(head, contents(session, [hit.adapter_id for hit in head]))[: query.limit]


def _downloads(session: Session, adapter_ids: Collection[int]) -> dict[int, int]:
    rows = session.execute(select(Adapter.id, Adapter.downloads).where(Adapter.id.in_(adapter_ids)))
    return {row.id: row.downloads for row in rows}
