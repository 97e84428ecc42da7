"""Which of the hits are fused."""

import numpy as np
import pytest

from registry.search.ranking import SearchHit
from registry.search.selection import LEAST_RELEVANCE, Candidate, choose, relevances


def candidate(
    adapter_id: int, relevance: float, angle: float | None = None, sha256: str = ""
) -> Candidate:
    """`angle` in degrees places its weights on a circle."""
    embedding = None
    if angle is not None:
        radians = np.radians(angle)
        embedding = np.array([np.cos(radians), np.sin(radians)], np.float32)
    return Candidate(adapter_id, sha256 or f"file {adapter_id}", relevance, embedding)


def ids(chosen: list[Candidate]) -> list[int]:
    return [one.adapter_id for one in chosen]


def test_the_most_relevant_is_always_chosen() -> None:
    assert ids(choose([candidate(1, 0.5, 0), candidate(2, 0.9, 90)], 1)) == [2]


def test_a_complement_beats_a_second_of_the_same_kind() -> None:
    """`a fox in watercolour` needs a fox and a watercolour, not two foxes."""
    fox, another_fox, watercolour = (
        candidate(1, 1.0, 0),
        candidate(2, 0.95, 20),
        candidate(3, 0.8, 85),
    )

    assert ids(choose([fox, another_fox, watercolour], 2)) == [1, 3]


def test_near_copies_and_the_same_file_are_skipped() -> None:
    """A re-upload would only double the strength."""
    original = candidate(1, 1.0, 0, sha256="same")
    retrained = candidate(2, 0.99, 5)
    uploaded_again = candidate(3, 0.98, None, sha256="same")

    assert ids(choose([original, retrained, uploaded_again], 3)) == [1]


def test_what_suits_much_less_is_left_out() -> None:
    """A bad adapter is worse than none."""
    weak = candidate(2, LEAST_RELEVANCE - 0.01, 90)
    enough = candidate(3, LEAST_RELEVANCE + 0.01, 90)

    assert ids(choose([candidate(1, 1.0, 0), weak], 3)) == [1]
    assert ids(choose([candidate(1, 1.0, 0), enough], 3)) == [1, 3]


def test_nothing_to_choose_from() -> None:
    assert choose([], 3) == []


def test_relevance_compares_similarities_rather_than_positions() -> None:
    """Positions 1 and 2 say nothing of how far apart they are."""
    hits = [
        SearchHit(1, 1.0, {"weights": 0.8, "captions": 0.8, "words": None}),
        SearchHit(2, 0.99, {"weights": 0.2, "captions": 0.2, "words": None}),
        SearchHit(3, 0.98, {"weights": -0.1, "captions": None, "words": None}),
    ]

    assert relevances(hits) == {1: pytest.approx(1), 2: pytest.approx(0.25), 3: 0.0}


def test_an_exact_hit_is_fully_relevant() -> None:
    hits = [SearchHit(1, 1.0, {"captions": 0.1}, exact=True), SearchHit(2, 0.5, {"captions": 0.9})]

    assert relevances(hits)[1] == 1.0
