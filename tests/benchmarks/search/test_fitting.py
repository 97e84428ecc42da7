"""Learning the list's constants: the same formula as the list's, and better ones are found."""

import numpy as np
import pytest
import torch

from benchmarks.search.asked import Question
from benchmarks.search.fitting import (
    Pages,
    drawn,
    error,
    gather,
    learn,
    log_odds,
    present,
    to_python,
)
from benchmarks.search.lists import Answered
from registry.retrieval.ranking import DEFAULT_CALIBRATION, Facts, Scale, rank
from registry.retrieval.terms import Signal

SCALE = Scale(DEFAULT_CALIBRATION, DEFAULT_CALIBRATION.captions, 1.5)


def asked(seed: int) -> Answered:
    """A question to eight adapters, of which some have no scores, and no word in odd ones."""
    rng = np.random.default_rng(seed)
    ids = range(1, 9)
    scores: dict[Signal, dict[int, float]] = {
        "weights": {id_: float(rng.normal(0.4, 0.3)) for id_ in ids if id_ % 4},
        "captions": {id_: float(rng.normal(0.2, 0.2)) for id_ in ids if id_ % 3},
        "words": {} if seed % 2 else {id_: float(rng.choice([0.1, 0.4, 0.59])) for id_ in (2, 5)},
    }
    hits = rank(scores, dict.fromkeys(ids, SCALE), dict.fromkeys(ids, Facts()))
    right = int(rng.integers(8))
    grades = [2 * (place == right) for place in range(8)]
    return Answered(Question("neon", "caption", {right: 2}), hits, grades, SCALE)


@pytest.fixture(scope="module")
def pages() -> Pages:
    return gather([asked(seed) for seed in range(30)], ["full"] * 8)


def test_the_formula_is_that_of_the_list(pages: Pages) -> None:
    said = [hit.score for seed in range(30) for hit in asked(seed).hits]

    assert torch.sigmoid(log_odds(present(), pages)).numpy() == pytest.approx(np.array(said))


def test_learned_constants_hold_better_where_they_were_learned(pages: Pages) -> None:
    learned = learn([pages], present())

    assert error(learned, pages) < error(present(), pages)
    assert torch.equal(learned.sign(), present().sign())


def test_a_question_is_either_learned_from_or_judged_by(pages: Pages) -> None:
    own, judged = (set(part.question.tolist()) for part in drawn(pages, seed=3))

    assert own | judged == set(range(30))
    assert not own & judged
    assert judged == set(drawn(pages, seed=3)[1].question.tolist())


def test_constants_in_use_are_written_as_they_stand() -> None:
    text = to_python(present())

    assert '"words": Fitness(weight=2, slope=22.2, doubt=0.346, floor=1.63,' in text
    assert "ONLY_WRITTEN = 4.86" in text
