import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoder.weight_encoders.metrics import RetrievalMetrics, mrr, positions


def slow_positions(similarity: list[list[float]], targets: list[int]) -> list[float]:
    """Sort each row; among equals, the target stands in the middle."""
    places = []
    for row, target in zip(similarity, targets, strict=True):
        ordered = sorted(row, reverse=True)
        equal = [place for place, value in enumerate(ordered, 1) if value == row[target]]
        places.append(sum(equal) / len(equal))
    return places


@st.composite
def rankings(draw: st.DrawFn) -> tuple[list[list[float]], list[int]]:
    gallery = draw(st.integers(1, 25))
    # Few values, so that ties are common.
    row = st.lists(st.sampled_from([-0.5, 0.0, 0.25, 1.0]), min_size=gallery, max_size=gallery)
    similarity = draw(st.lists(row, min_size=1, max_size=6))
    target = st.integers(0, gallery - 1)
    targets = draw(st.lists(target, min_size=len(similarity), max_size=len(similarity)))
    return similarity, targets


@given(rankings())
def test_metrics_equal_their_slow_versions(ranking: tuple[list[list[float]], list[int]]) -> None:
    similarity, targets = np.array(ranking[0]), np.array(ranking[1])
    slow = slow_positions(*ranking)

    assert positions(similarity, targets).tolist() == slow
    figures = RetrievalMetrics.of(positions(similarity, targets))
    for k, recall in (
        (1, figures.recall_at_1),
        (5, figures.recall_at_5),
        (10, figures.recall_at_10),
    ):
        assert recall == pytest.approx(sum(place <= k for place in slow) / len(slow))
    mean = sum(1 / place for place in slow) / len(slow)
    assert figures.mrr == mrr(similarity, targets) == pytest.approx(mean)
    gains = [1 / math.log2(1 + place) if place <= 10 else 0 for place in slow]
    assert figures.ndcg_at_10 == pytest.approx(sum(gains) / len(gains))


def test_an_encoder_that_gives_all_adapters_one_embedding_gains_nothing() -> None:
    """Counting ties as hits would call it perfect."""
    figures = RetrievalMetrics.of(positions(np.zeros((1, 100)), np.array([0])))

    assert figures.recall_at_10 == 0.0
