"""Positions in random galleries, against galleries that are built."""

import numpy as np

from benchmarks.wide.figures import (
    GALLERY,
    auroc,
    by_source,
    chance,
    gallery_places,
    reciprocal,
    spearman,
)


def test_positions_are_those_in_galleries_that_are_built() -> None:
    rng = np.random.default_rng(1)
    queries, embeddings = rng.normal(size=(2, 150, 4)).astype(np.float32)
    keys = [f"key {k % 100}" for k in range(150)]

    found = reciprocal(gallery_places(queries, embeddings, keys))[0]

    similarity = embeddings @ queries[0]
    others = [k for k in range(150) if keys[k] != keys[0]]
    slow = []
    for _ in range(3000):
        gallery = rng.choice(others, GALLERY - 1, replace=False)
        slow.append(1 / (1 + (similarity[gallery] > similarity[0]).sum()))
    assert abs(found - np.mean(slow)) < 0.02


def test_adapters_about_the_same_do_not_compete() -> None:
    embeddings = np.ones((3, 2), np.float32)
    embeddings[1:] *= 2
    places = gallery_places(np.ones((3, 2), np.float32), embeddings, ["a", "a", "b"])
    assert places[0].max() == 2


def test_a_random_order_comes_to_chance() -> None:
    rng = np.random.default_rng(2)
    queries, embeddings = rng.normal(size=(2, 2000, 8)).astype(np.float32)
    keys = [str(k) for k in range(2000)]
    assert abs(reciprocal(gallery_places(queries, embeddings, keys)).mean() - chance()) < 0.01


def test_few_sources_make_wide_intervals() -> None:
    values = np.repeat([0.0, 1.0], 50)
    mean, low, high = by_source(values, ["x"] * 50 + ["y"] * 50)
    assert (mean, low, high) == (0.5, 0.0, 1.0)


def test_signs_are_judged_by_order() -> None:
    values = np.array([1.0, 2.0, 2.0, 9.0])
    assert spearman(values, values**3) == 1.0
    assert auroc(values, np.array([0, 0, 1, 1])) == 0.875
