"""Figures of ranking, on cases that can be counted by hand."""

import numpy as np
import pytest

from benchmarks.search.ranking import place_by_reciprocal_ranks, places, ranking_figures
from registry.retrieval.ranking import SearchHit


def test_all_is_compared_with_the_best_single_signal() -> None:
    figures = ranking_figures(
        {
            "weights": np.array([1.0, 0.5]),
            "captions": np.array([0.5, 0.5]),
            "words": np.zeros(2),
            "reciprocal ranks": np.array([0.5, 1.0]),
            "all": np.array([1.0, 1.0]),
        }
    )

    assert figures["best"] == "weights"
    assert figures["above_best"][0] == pytest.approx(0.25)
    assert figures["above_best"][1:] == [0.0, 0.5]
    assert figures["recall_at_1"]["weights"][0] == 0.5


def test_reciprocal_ranks_prefer_agreement() -> None:
    hits = [
        SearchHit(1, 0.9, 0.1, positions={"weights": 1, "captions": None, "words": None}),
        SearchHit(2, 0.8, 0.4, positions={"weights": 2, "captions": 2, "words": None}),
        SearchHit(3, 0.7, 0.2, positions={"weights": None, "captions": 1, "words": None}),
    ]

    assert place_by_reciprocal_ranks(hits, 2) == 1
    assert places(hits, 2) == {
        "weights": 2,
        "captions": 2,
        "words": None,
        "reciprocal ranks": 1,
        "as listed": 2,
        "all": 1,
    }
