"""Figures of selection, on cases that can be counted by hand."""

import numpy as np
import pytest

from benchmarks.search.selection import selection_figures


def test_precision_and_recall_of_choosing() -> None:
    # Found, chosen, wanted, exactly right.
    counts = np.array([[2, 2, 2, 1], [1, 3, 2, 0], [0, 0, 1, 0]], float)

    figures = selection_figures(counts)

    assert figures["precision"][0] == pytest.approx(3 / 5)
    assert figures["recall"][0] == pytest.approx(3 / 5)
    assert figures["exact"][0] == pytest.approx(1 / 3)
