"""What was found for each part of a prompt -> the few adapters to fuse: one for each thing.

A prompt names several things; the adapters nearest to the whole of it are often several for
the same one. So its parts are searched for one by one, and the surest find is taken first;
what overlaps its words is settled then. A part that nothing fits gets no adapter, for a bad
adapter is worse than none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from registry.retrieval.probability import LEAST_FIT
from registry.text.prompt_phrases import Span

# Embeddings as close as this are the same adapter, retrained or uploaded again.
NEAR_COPY = 0.95


@dataclass(frozen=True, slots=True)
class Candidate:
    """An adapter found for a part of the prompt; `embedding` (dim,) of its weights, if known.

    `fit` is the probability, 0..1, that it does what the part asks for.
    """

    adapter_id: int
    file_sha256: str
    span: Span
    fit: float
    embedding: npt.NDArray[np.float32] | None


def choose(
    candidates: Sequence[Candidate], k: int, least_fit: float = LEAST_FIT
) -> list[Candidate]:
    """Choose up to `k` candidates, the surest first: one a part, none twice."""
    chosen: list[Candidate] = []
    left = sorted(
        (candidate for candidate in candidates if candidate.fit >= least_fit),
        # Among equals, the one that answers more of the prompt comes first.
        key=lambda candidate: (
            -candidate.fit,
            candidate.span.first - candidate.span.last,
            candidate.adapter_id,
        ),
    )
    while left and len(chosen) < k:
        best = left[0]
        chosen.append(best)
        left = [
            candidate
            for candidate in left
            if not candidate.span.overlaps(best.span) and _similarity(candidate, best) < NEAR_COPY
        ]
    return chosen


def _similarity(one: Candidate, other: Candidate) -> float:
    if one.adapter_id == other.adapter_id or one.file_sha256 == other.file_sha256:
        return 1.0
    if one.embedding is None or other.embedding is None:
        return 0.0
    return float(one.embedding @ other.embedding)
