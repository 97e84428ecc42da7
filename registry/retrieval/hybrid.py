"""A question -> adapters: every signal asked, their answers merged."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from sqlalchemy.orm import Session

from encoder.text_encoder import TextEncoder
from registry.retrieval.filters import Filters
from registry.retrieval.ranking import (
    DEFAULT_CALIBRATION,
    PLAIN_CALIBRATION,
    Calibration,
    SearchHit,
    Signal,
    fold,
    rank,
)
from registry.retrieval.signals import DEPTH, Aim, Question, gather

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
    if encoder is None:
        aim = Aim(query.filters, embedding[0])
    else:
        aimed, projected = encoder.encode_caption_query(embedding), encoder.encode_query(embedding)
        aim = Aim(query.filters, aimed[0], encoder.name, projected[0])
    gathered = gather(
        session,
        Question(
            query.text,
            query.filters,
            [aim],
            text_encoder.name,
            signals=query.signals if encoder is not None else _without_weights(query.signals),
            depth=max(DEPTH, query.limit),
        ),
    )
    hits = rank(
        gathered.scores,
        encoder.calibration if encoder is not None else PLAIN_CALIBRATION,
        positions=gathered.positions,
        exact=gathered.exact[: query.limit],
        downloads={id_: facts.downloads for id_, facts in gathered.facts.items()},
    )
    # Only the head can reach the page: copies of an adapter stand near each other.
    head = hits[: query.limit * FOLDING]
    contents = {id_: facts.contents for id_, facts in gathered.facts.items()}
    return fold(head, contents)[: query.limit]


def _without_weights(signals: Sequence[Signal]) -> list[Signal]:
    return [signal for signal in signals if signal != "weights"]
