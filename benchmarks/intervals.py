"""95 % intervals by bootstrap: figures computed again of cases drawn with replacement."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from encoder.arrays import Doubles, Ints

RESAMPLES = 2000


def resamples(count: int) -> Ints:
    """Return which of `count` cases every resample draws, (RESAMPLES, count)."""
    return np.random.default_rng(0).integers(count, size=(RESAMPLES, count))


def with_spread(value: float, draws: Sequence[float] | Doubles) -> list[float]:
    """Return (value, low, high): a figure with the middle 95 % of its resamples' figures."""
    return [float(value), *np.quantile(draws, [0.025, 0.975]).tolist()]


def mean_interval(values: npt.NDArray[Any], rows: Ints | None = None) -> list[float]:
    """Return (mean, low, high) over cases; `rows` are their resamples, if drawn already."""
    rows = resamples(len(values)) if rows is None else rows
    return with_spread(values.mean(), values[rows].mean(axis=1))


def interval(samples: Sequence[npt.NDArray[Any]], statistic: Callable[..., float]) -> list[float]:
    """Return (value, low, high) of a statistic of paired samples."""
    draws = [statistic(*(sample[row] for sample in samples)) for row in resamples(len(samples[0]))]
    return with_spread(statistic(*samples), draws)
