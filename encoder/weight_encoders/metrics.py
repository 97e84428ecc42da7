"""Retrieval figures from similarities: one relevant item a query."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from encoder.arrays import Doubles, Ints

AnyFloats = npt.NDArray[np.floating[Any]]


def positions(similarity: AnyFloats, targets: Ints) -> Doubles:
    """Return the 1-based position of each query's target, (queries,).

    `similarity` is (queries, gallery); `targets` the gallery index each query is about.
    Ties count half, so that an encoder which gives everything one score gains nothing.
    """
    of_targets = np.take_along_axis(similarity, targets[:, None], axis=1)
    above = (similarity > of_targets).sum(axis=1)
    tied = (similarity == of_targets).sum(axis=1) - 1
    place: Doubles = 1 + above + tied / 2
    return place


def mrr(similarity: AnyFloats, targets: Ints) -> float:
    """Return the mean reciprocal position of the targets."""
    return float((1 / positions(similarity, targets)).mean())


@dataclass(frozen=True, slots=True)
class RetrievalMetrics:
    """All figures of one set of queries.

    `recall_at_k` is the share of queries whose target is among the first k; `mrr` the mean
    reciprocal position of targets; `ndcg_at_10` their mean discounted gain among the first ten.
    """

    recall_at_1: float
    recall_at_5: float
    recall_at_10: float
    mrr: float
    ndcg_at_10: float

    @classmethod
    def of(cls, place: Doubles) -> "RetrievalMetrics":
        """Compute them from the targets' positions."""
        return cls(
            recall_at_1=float((place <= 1).mean()),
            recall_at_5=float((place <= 5).mean()),
            recall_at_10=float((place <= 10).mean()),
            mrr=float((1 / place).mean()),
            ndcg_at_10=float(np.where(place <= 10, 1 / np.log2(1 + place), 0.0).mean()),
        )
