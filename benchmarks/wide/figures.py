"""Positions in random galleries of 60, and what is said of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.intervals import RESAMPLES, mean_interval, with_spread
from benchmarks.tables import with_interval
from encoder.arrays import Doubles, Floats, Ints

GALLERY, DRAWS = 60, 2000


def gallery_places(queries: Floats, embeddings: Floats, keys: Sequence[str]) -> Doubles:
    """Return each adapter's positions in random galleries of 60, (n, draws).

    `queries` (n, dim) ask for the adapters of `embeddings` (n, dim), row by row. The other 59
    are drawn from those that are about something else. How many of them come before the right
    one is hypergeometric, so no gallery need be built.
    """
    rng, similarity = np.random.default_rng(0), queries @ embeddings.T
    names = np.array(keys)
    places = np.empty((len(queries), DRAWS))
    for i, row in enumerate(similarity):
        others = names != names[i]
        before = int((row[others] > row[i]).sum())
        count = int(others.sum())
        drawn = min(GALLERY - 1, count)
        places[i] = 1 + rng.hypergeometric(before, count - before, drawn, DRAWS)
    return places


def reciprocal(places: Doubles) -> Doubles:
    """Return each adapter's mean reciprocal position."""
    found: Doubles = (1 / places).mean(axis=1)
    return found


def chance() -> float:
    """Return the MRR of a random order."""
    return float((1 / np.arange(1, GALLERY + 1)).mean())


def by_source(values: Doubles, sources: Sequence[str] | npt.NDArray[np.str_]) -> list[float]:
    """Return (mean, low, high): whole sources are drawn again."""
    names, members = np.unique(np.array(sources), return_inverse=True)
    sums = np.bincount(members, values)
    counts = np.bincount(members)
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(names), size=(RESAMPLES, len(names)))
    return with_spread(values.mean(), sums[drawn].sum(1) / counts[drawn].sum(1))


def summary(values: Doubles, sources: Sequence[str] | npt.NDArray[np.str_]) -> dict[str, Any]:
    """Return a mean with its intervals by adapter and by source."""
    return {
        "adapters": len(values),
        "by_adapter": mean_interval(values),
        "by_source": by_source(values, sources),
    }


def both(entry: dict[str, Any]) -> str:
    """Write a mean with its interval by adapter and, after it, by source."""
    _, low, high = entry["by_source"]
    return f"{with_interval(entry['by_adapter'])} ({low:.3f}, {high:.3f})"


def ranks(values: Doubles) -> Doubles:
    """Return the rank of every value, equal ones sharing theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    shared: Doubles = (ends - (counts - 1) / 2)[inverse]
    return shared


def spearman(first: Doubles, second: Doubles) -> float:
    """Return the correlation of ranks."""
    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])


def auroc(scores: Doubles, right: Ints) -> float:
    """Return how often a right one has a higher score than a wrong one."""
    positive = right > 0
    mean_rank = ranks(scores)[positive].mean()
    count, others = positive.sum(), (~positive).sum()
    return float((mean_rank - (count + 1) / 2) / others)
