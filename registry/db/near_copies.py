"""Files that are one another again, put together by what they have in common."""

from collections.abc import Iterator, Sequence

import numpy as np

from encoder.arrays import Floats

# Fingerprints compared at once.
PAGE = 256


def near_pairs(fingerprints: Sequence[object], least: float) -> Iterator[tuple[int, int]]:
    """Yield the places of pairs whose changes have a cosine of `least` or more.

    Of equal ones the first alone is compared with others, and each of the rest is paired with it:
    as many pairs as it takes to join them, where a folder may have thousands of copies of a file.
    """
    distinct: dict[bytes, tuple[int, Floats]] = {}
    for place, one in enumerate(fingerprints):
        direction = np.asarray(one, np.float32)
        first, _ = distinct.setdefault(direction.tobytes(), (place, direction))
        # What is zero resembles nothing, itself neither.
        if first != place and direction.any():
            yield first, place
    if not distinct:
        return
    places, directions = zip(*distinct.values(), strict=True)
    matrix = np.stack(directions)
    matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
    for start in range(0, len(matrix), PAGE):
        near = matrix[start : start + PAGE] @ matrix[start:].T >= least
        for one, other in zip(*np.nonzero(near), strict=True):
            if one < other:
                yield places[start + int(one)], places[start + int(other)]


class Groups:
    """Sets that are joined until nothing more has something in common (union-find)."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def name(self, member: str) -> str:
        """Return the name of a member's set: the first of its members by alphabet."""
        root = member
        while self._parent.get(root, root) != root:
            root = self._parent[root]
        while self._parent.get(member, member) != root:
            self._parent[member], member = root, self._parent[member]
        return root

    def join(self, one: str, other: str) -> None:
        low, high = sorted((self.name(one), self.name(other)))
        self._parent[low] = low
        self._parent[high] = low
