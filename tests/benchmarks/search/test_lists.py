"""Figures of lists, on cases that can be counted by hand."""

import numpy as np
import pytest

from benchmarks.search.asked import Question
from benchmarks.search.lists import (
    Answered,
    by_surety,
    calibration_error,
    ndcg,
    recall,
    reciprocal,
    reliability,
)
from benchmarks.search.nonsense import nonsense
from registry.retrieval.ranking import PLAIN_CALIBRATION, Scale, SearchHit

PLAIN = Scale(PLAIN_CALIBRATION, PLAIN_CALIBRATION.captions, 0.0)


def answered(wanted: dict[int, int], *hits: tuple[int, float, float]) -> Answered:
    """Hits of (place, score, surety)."""
    found = [SearchHit(place + 1, score, surety) for place, score, surety in hits]
    grades = [wanted.get(place, 0) for place, _, _ in hits]
    return Answered(Question("neon", "kind", wanted), found, grades, PLAIN)


def test_a_list_is_as_good_as_its_first_page() -> None:
    best = answered({0: 2, 1: 1}, (0, 0.9, 0.1), (1, 0.8, 0.2), (2, 0.1, 0.3))
    turned = answered({0: 2, 1: 1}, (2, 0.9, 0.1), (1, 0.8, 0.2), (3, 0.1, 0.3))

    assert (ndcg(best), recall(best), reciprocal(best.grades)) == (1.0, 1.0, 1.0)
    gain = (1 / np.log2(3)) / (3 + 1 / np.log2(3))
    assert ndcg(turned) == pytest.approx(gain)
    assert (recall(turned), reciprocal(turned.grades)) == (0.5, 0.5)
    assert by_surety(best) == [0, 1, 2]


def test_a_page_holds_ten_of_many_right_answers() -> None:
    wanted = dict.fromkeys(range(30), 2)

    many = answered(wanted, *((place, 0.9, 0.1) for place in range(30)))

    assert (ndcg(many), recall(many)) == (1.0, 1.0)


def test_probabilities_are_compared_with_what_is_right() -> None:
    said, right = np.array([0.25, 0.25, 0.95, 1.0]), np.array([0.0, 1.0, 1.0, 1.0])

    bins = reliability(said, right)

    assert bins == {"2": (0.5, 0.25, 0.5), "9": (0.5, pytest.approx(0.975), 1.0)}
    assert calibration_error(said, right) == pytest.approx(0.5 * 0.25 + 0.5 * 0.025)


def test_nonsense_is_drawn_the_same_each_time_and_anew_for_each_seed() -> None:
    one, other = nonsense(200, 0), nonsense(200, 1)

    assert one == nonsense(200, 0)
    assert len(set(one)) == len(set(other)) == 200
    # A hand falls on neighbouring keys more than once.
    assert len(set(one) & set(other)) < 20
