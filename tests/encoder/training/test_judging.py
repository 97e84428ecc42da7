"""Figures that decide which encoder serves."""

import numpy as np

from encoder.training.judging import interval, is_held_back, reciprocal_places


def test_one_group_in_five_is_held_back_and_always_the_same() -> None:
    held = [is_held_back(f"author {number}") for number in range(2000)]

    assert 0.17 < np.mean(held) < 0.23
    assert held == [is_held_back(f"author {number}") for number in range(2000)]


def test_places_are_means_over_captions_and_galleries() -> None:
    gallery = np.eye(4, dtype=np.float32)
    second = np.array([[0, 1, 0, 0], [0, 0.5, 0.9, 0]], np.float32)
    last = np.array([[0.9, 0, 0, 0.1]], np.float32)
    queries = [gallery[:1], second, gallery[2:3], last]

    found = reciprocal_places(queries, gallery)

    np.testing.assert_allclose(found, [1, 0.75, 1, 0.5])


def test_large_indexes_are_asked_in_galleries_of_one_size() -> None:
    """A random order of sixty has an MRR of .078, whatever the index holds."""
    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(600, 16)).astype(np.float32)
    queries = [rng.normal(size=(2, 16)).astype(np.float32) for _ in range(600)]

    found = reciprocal_places(queries, gallery)

    assert abs(np.nanmean(found) - 0.078) < 0.02


def test_an_interval_goes_by_groups() -> None:
    """A hundred adapters of two authors tell as little as two do."""
    values = np.array([0.0] * 50 + [1.0] * 50)

    by_author = interval(values, ["a"] * 50 + ["b"] * 50)
    apart = interval(values, [str(number) for number in range(100)])

    assert (by_author.low, by_author.high) == (0.0, 1.0)
    assert 0.35 < apart.low < apart.mean == 0.5 < apart.high < 0.65
