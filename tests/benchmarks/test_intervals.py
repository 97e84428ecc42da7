"""Intervals by bootstrap, against resamples drawn one by one."""

import numpy as np

from benchmarks.intervals import RESAMPLES, interval, mean_interval, resamples


def test_a_mean_interval_is_that_of_means_of_resamples() -> None:
    values = np.random.default_rng(1).normal(size=30)
    slow = sorted(values[row].mean() for row in resamples(30))

    mean, low, high = mean_interval(values)

    assert mean == values.mean()
    np.testing.assert_allclose([low, high], np.quantile(slow, [0.025, 0.975]))
    # Between the order statistics that leave 2.5 % of the resamples out on each side.
    assert slow[RESAMPLES // 40 - 1] <= low <= slow[RESAMPLES // 40]


def test_samples_are_drawn_in_pairs() -> None:
    """A ratio of what is proportional is certain, however the cases differ."""
    whole = np.random.default_rng(2).uniform(1, 9, 40)

    found = interval([whole / 4, whole], lambda part, all_: float(part.mean() / all_.mean()))

    np.testing.assert_allclose(found, [0.25] * 3)


def test_the_same_cases_are_drawn_every_time() -> None:
    """Figures of a page are compared: noise between two makings would look like a finding."""
    assert (resamples(7) == resamples(7)).all()
