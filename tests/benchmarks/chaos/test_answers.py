"""Answers compared with those of a registry that nothing happened to."""

from typing import Any

import pytest

from benchmarks.chaos.__main__ import difference_of


def result(score: float) -> dict[str, Any]:
    adapter = {
        "file_sha256": "ab" * 32, "name": "Fox", "author": "ann", "hub": "civitai",
        "base_model": "flux.1", "trigger_words": [],
    }  # fmt: skip
    return {"adapter": adapter, "signals": {"weights": 0.3, "captions": None}, "score": score}


@pytest.mark.parametrize("score", [0.5394, 0.5393, 0.5395])
def test_the_last_digit_of_a_score_is_no_difference(score: float) -> None:
    assert difference_of([result(score)], [result(0.5394)]) == ""


def test_a_score_that_differs_is_told() -> None:
    told = difference_of([result(0.5398)], [result(0.5394)])

    assert told == "'Fox': its score is 0.5398, not 0.5394"
