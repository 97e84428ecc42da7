"""Figures of the search benchmark, on cases that can be counted by hand."""

import numpy as np
import pytest

from benchmarks.search import (
    abstention_figures,
    place_by_reciprocal_ranks,
    places,
    ranking_figures,
    selection_figures,
)
from benchmarks.search_composed import ENGLISH, compose
from benchmarks.search_tables import signed, table, value
from benchmarks.search_world import SETUPS, qualities
from demo.concepts import Concept
from registry.retrieval.ranking import SearchHit
from registry.text.phrases import spans_of


def concept(kind: str, subject: str) -> Concept:
    words = (subject, subject, subject)
    return Concept(subject, kind, "held-out", (), (), words, words, "", subject, f"某{subject}")


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
        SearchHit(1, 0.9, positions={"weights": 1, "captions": None, "words": None}),
        SearchHit(2, 0.8, positions={"weights": 2, "captions": 2, "words": None}),
        SearchHit(3, 0.7, positions={"weights": None, "captions": 1, "words": None}),
    ]

    assert place_by_reciprocal_ranks(hits, 2) == 1
    assert places(hits, 2) == {
        "weights": 2,
        "captions": 2,
        "words": None,
        "reciprocal ranks": 1,
        "all": 2,
    }


def test_precision_and_recall_of_answering() -> None:
    figures = abstention_figures(
        {
            "here": np.array([1.0, 1.0, 1.0, 0.0]),
            "taken away": np.array([1.0, 0.0]),
            "far off": np.zeros(2),
        },
        right=np.array([1.0, 1.0, 0.0, 0.0]),
    )

    assert (figures["precision"], figures["recall"]) == (0.75, 0.75)
    assert figures["right_when_answered"] == pytest.approx(2 / 3)
    assert figures["right_always"] == 0.5


def test_precision_and_recall_of_choosing() -> None:
    # Found, chosen, wanted, exactly right.
    counts = np.array([[2, 2, 2, 1], [1, 3, 2, 0], [0, 0, 1, 0]], float)

    figures = selection_figures(counts)

    assert figures["precision"][0] == pytest.approx(3 / 5)
    assert figures["recall"][0] == pytest.approx(3 / 5)
    assert figures["exact"][0] == pytest.approx(1 / 3)


def test_every_composed_prompt_names_its_things_and_can_be_cut() -> None:
    concepts = [
        concept(kind, f"{kind}{n}") for kind in ("object", "style", "colour") for n in "abc"
    ]

    prompts = compose(concepts, 2 * len(ENGLISH), seed=0)

    assert prompts == compose(concepts, 2 * len(ENGLISH), seed=0)
    for prompt in prompts:
        assert 2 <= len(prompt.keys) <= 3
        assert all(key in prompt.english for key in prompt.keys)
        assert all(f"某{key}" in prompt.chinese for key in prompt.keys)
        assert len(spans_of(prompt.english)) >= 3


def test_half_of_a_sparse_index_knows_nothing_or_lies() -> None:
    known = qualities(100, "sparse", seed=0)

    assert sorted(set(known)) == sorted(set(SETUPS["sparse"]))
    assert known.count("removed") == known.count("misleading") == 25
    assert known == qualities(100, "sparse", seed=0)


def test_tables_show_intervals() -> None:
    shown = table(["a", "b"], [[value([0.5, 0.25, 0.75]), signed([-0.1, -0.2, 0.0])]])

    assert shown.splitlines()[-1] == "| 0.500 [0.250, 0.750] | -0.100 [-0.200, +0.000] |"
