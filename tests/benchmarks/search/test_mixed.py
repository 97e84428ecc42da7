"""Known and unknown adapters in one index: who is asked for, and what is right."""

from typing import Any

import numpy as np
import pytest

from benchmarks.search.asked import Question
from benchmarks.search.lists import Answered
from benchmarks.search.mixed import PARTS, Mixed, by_signal, is_unlikely
from benchmarks.search.outside import Outside, to_concept
from benchmarks.search.world import ENCODER, World
from registry.retrieval.encoder_spaces import ServingEncoder
from registry.retrieval.ranking import DEFAULT_CALIBRATION, Scale, SearchHit


def row(number: int, key: str) -> dict[str, Any]:
    texts = tuple(f"{key} {length}" for length in ("short", "medium", "long"))
    return {
        "file": f"adapters/{number}.safetensors",
        "kind": "object",
        "split": "validation",
        "key": key,
        "author": {"nonsense": ""},
        "captions": texts,
        "captions_zh": texts,
        "question": f"draw {key}",
        "question_zh": f"画{key}",
    }


@pytest.fixture
def mixed() -> Mixed:
    """One adapter of the miniature world, and three from outside, two of which do the same."""
    rows = [row(1, "bone"), row(2, "elevator"), row(3, "bone")]
    encoder = ServingEncoder(ENCODER, None)  # type: ignore[arg-type]
    concepts = [to_concept(row(0, "fox")), *map(to_concept, rows)]
    world = World(concepts, np.zeros((4, 2), np.float32), encoder, None)  # type: ignore[arg-type]
    return Mixed(world, 1, Outside(world, rows, []))


def test_every_adapter_is_asked_for_and_those_from_outside_twice(mixed: Mixed) -> None:
    asked = [one for one in mixed.asked("en", [0, 1, 2, 0]) if one.kind == "caption"]

    assert [one.text for one in asked] == [
        "fox short", "bone medium", "elevator long", "bone short",
        "draw bone", "draw elevator", "draw bone",
    ]  # fmt: skip
    assert [mixed.part_of(place) for place in range(7)] == [
        PARTS[0],
        *3 * PARTS[1:2],
        *3 * PARTS[2:],
    ]


def test_all_that_do_the_same_are_right(mixed: Mixed) -> None:
    asked = mixed.asked("en", [0, 0, 0, 0])

    assert [set(one.grades) for one in asked[:4]] == [{0}, {1, 3}, {2}, {1, 3}]
    assert mixed.also() == {1: [3], 2: [], 3: [1]}


def answered(*scores: float, right: int) -> Answered:
    hits = [
        SearchHit(place, score, signals={"captions": score}) for place, score in enumerate(scores)
    ]
    grades = [2 * (place == right) for place in range(len(scores))]
    scale = Scale(DEFAULT_CALIBRATION, DEFAULT_CALIBRATION.captions, 0.0)
    return Answered(Question("fox", "caption", {right: 2}), hits, grades, scale)


def test_a_signal_s_own_order_shares_equals() -> None:
    assert by_signal(answered(0.9, 0.5, 0.4, right=1), "captions") == 1 / 2
    assert by_signal(answered(0.5, 0.5, 0.4, right=1), "captions") == 1 / 1.5
    assert by_signal(answered(0.5, 0.4, right=1), "words") == 0


def test_what_is_right_but_probably_not_is_counted() -> None:
    assert is_unlikely(answered(0.9, 0.1, right=1))
    assert not is_unlikely(answered(0.9, 0.2, right=1))
