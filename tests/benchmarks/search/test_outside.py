"""Who answers a question about art that nothing shipped has seen, and what is held against fits."""

import pytest

from benchmarks.search.asked import Kind, Question
from benchmarks.search.lists import Answered
from benchmarks.search.outside import answers, outside_figures
from registry.retrieval.ranking import DEFAULT_CALIBRATION, Scale, SearchHit

SCALE = Scale(DEFAULT_CALIBRATION, DEFAULT_CALIBRATION.captions, 0.0)


def keyed(key: str) -> dict[str, str]:
    return {"key": key}


def answered(kind: Kind, *hits: tuple[float, int]) -> Answered:
    """A question with the probability and the grade of each hit."""
    found = [SearchHit(number, score) for number, (score, _) in enumerate(hits, start=1)]
    return Answered(Question("", kind), found, [grade for _, grade in hits], SCALE)


def test_an_adapter_that_does_more_than_was_asked_for_answers() -> None:
    mixture = keyed("pin, blue neon glow on black")
    thing = keyed("pin drawn as a thin black line icon")

    assert answers(mixture, keyed("blue neon glow on black"))
    assert answers(thing, keyed("pin"))
    assert answers(thing, keyed("thin black line icon"))
    assert not answers(keyed("pin"), thing)
    assert not answers(thing, keyed("pine"))


def test_what_is_said_to_fit_is_judged_by_itself() -> None:
    figures = outside_figures(
        [
            answered("caption", (0.9, 2), (0.1, 0)),
            answered("caption", (0.3, 0), (0.2, 2)),
            answered("taken away", (0.7, 0)),
            answered("taken away", (0.5, 0)),
            answered("far off", (0.1, 0)),
            answered("nonsense"),
        ]
    )

    assert figures["mrr"] == 0.75
    assert figures["fitting"] == 2
    assert figures["said"] == pytest.approx(0.8)
    assert figures["right"] == 0.5
    assert figures["fits"] == {"taken away": 0.5, "far off": 0.0, "nonsense": 0.0}
    # Of seven results .9 and .2 are right: how far each is from what is said.
    assert figures["error"] == pytest.approx((0.1 + 0.8 + 0.1 + 0.3 + 0.7 + 0.5 + 0.1) / 7)
