"""Figures of abstention, on cases that can be counted by hand."""

import numpy as np
import pytest

from benchmarks.search.abstention import abstention_figures


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
