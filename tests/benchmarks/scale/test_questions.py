"""What an exact search would answer, kept batch by batch."""

import numpy as np

from benchmarks.scale.questions import FIRST, Nearest


def test_the_nearest_of_batches_are_the_nearest_of_all() -> None:
    """Memory must not grow with the gallery, and nothing may be lost for it."""
    similarities = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32)
    ids = np.arange(1, 51)
    found = Nearest(np.full((3, FIRST), -np.inf, np.float32))

    for first in range(0, 50, 8):
        found.add(similarities[:, first : first + 8], ids[first : first + 8])

    assert found.ids.tolist() == ids[np.argsort(-similarities)[:, :FIRST]].tolist()


def test_fewer_adapters_than_are_wanted_leave_places_empty() -> None:
    """Under a narrow filter there may be three; ids begin at 1."""
    found = Nearest(np.full((1, FIRST), -np.inf, np.float32))

    found.add(np.array([[0.1, 0.3, 0.2]], np.float32), np.array([4, 5, 6]))

    assert found.ids[0, :3].tolist() == [5, 6, 4]
    assert not found.ids[0, 3:].any()
