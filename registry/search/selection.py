"""Search hits -> the few adapters to fuse: what suits the prompt, and no two of a kind."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from registry.search.ranking import SIGNAL_WEIGHTS, SIGNALS, SearchHit

# An adapter must suit the prompt at least so well as the best one, in share of its scores:
# a bad adapter is worse than none.
LEAST_RELEVANCE = 0.6
# Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998): how much likeness to what
# is chosen already takes away. A prompt names several things; a second adapter for the
# first of them adds nothing.
DIVERSITY = 0.5
# Embeddings as close as this are the same adapter, retrained or uploaded again.
NEAR_COPY = 0.95


@dataclass(frozen=True, slots=True)
class Candidate:
    """An adapter that may be fused; `embedding` (dim,) is that of its weights, if known."""

    adapter_id: int
    file_sha256: str
    relevance: float
    embedding: npt.NDArray[np.float32] | None


def relevances(hits: Sequence[SearchHit]) -> dict[int, float]:
    """Return how well each hit suits the question, compared with the best hit, 0..1.

    Positions (and so `SearchHit.score`) hide how far apart two neighbours are; similarities
    do not. Each signal's are taken relative to the best of the page and averaged.
    """
    best = {
        signal: max((hit.signals.get(signal) or 0.0 for hit in hits), default=0.0)
        for signal in SIGNALS
    }
    known = [signal for signal in SIGNALS if best[signal] > 0]
    total = sum(SIGNAL_WEIGHTS[signal] for signal in known)
    return {
        hit.adapter_id: 1.0
        if hit.exact or not known
        else sum(
            SIGNAL_WEIGHTS[signal] * max(0.0, hit.signals.get(signal) or 0.0) / best[signal]
            for signal in known
        )
        / total
        for hit in hits
    }


def choose(candidates: Sequence[Candidate], k: int) -> list[Candidate]:
    """Choose up to `k` candidates, most relevant first, each unlike those before it."""
    chosen: list[Candidate] = []
    left = sorted(candidates, key=lambda one: (-one.relevance, one.adapter_id))
    least = LEAST_RELEVANCE * left[0].relevance if left else 0.0
    while len(chosen) < k:
        likeness = {one.adapter_id: _likeness(one, chosen) for one in left}
        left = [
            one for one in left if one.relevance >= least and likeness[one.adapter_id] < NEAR_COPY
        ]
        if not left:
            break
        next_one = max(left, key=lambda one: one.relevance - DIVERSITY * likeness[one.adapter_id])
        chosen.append(next_one)
        left.remove(next_one)
    return chosen


def _likeness(one: Candidate, chosen: Sequence[Candidate]) -> float:
    return max((_similarity(one, other) for other in chosen), default=0.0)


def _similarity(one: Candidate, other: Candidate) -> float:
    if one.file_sha256 == other.file_sha256:
        return 1.0
    if one.embedding is None or other.embedding is None:
        return 0.0
    return max(0.0, float(one.embedding @ other.embedding))
