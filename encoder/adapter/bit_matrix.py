"""Large matrices in one bit a number."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from encoder.arrays import Floats

# How many rows are unpacked at a time: with ten thousand columns they stay near the processor.
PART = 128


@dataclass(frozen=True, slots=True, eq=False)
class BitMatrix:
    """A matrix in one bit a number: a step for each column, times -1 or 1.

    Where rows are keys that others are compared with, their signs tell nearly as much as they do.
    """

    packed: npt.NDArray[np.uint8]  # (rows, columns / 8), the first column in the highest bit
    steps: Floats  # (columns,)

    @classmethod
    def of(cls, matrix: Floats) -> "BitMatrix":
        """Keep the signs of a matrix, and how large its columns are."""
        steps = np.sqrt(np.square(matrix).mean(axis=0))
        return cls(np.packbits(matrix > 0, axis=1), steps.astype(np.float32))

    @property
    def rows(self) -> int:
        return len(self.packed)

    def products(self, vectors: Floats) -> Floats:
        """Return vectors (n, columns) @ matrix.T, (n, rows)."""
        scaled = vectors * self.steps
        # With bits b in place of signs 2 b - 1.
        totals = scaled.sum(axis=1, keepdims=True)
        products = np.empty((len(vectors), self.rows), np.float32)
        for start in range(0, self.rows, PART):
            part = self.packed[start : start + PART]
            bits = np.unpackbits(part, axis=1, count=len(self.steps)).astype(np.float32)
            products[:, start : start + len(part)] = 2 * (scaled @ bits.T) - totals
        return products

    def arrays(self, name: str) -> dict[str, npt.NDArray[Any]]:
        """Return what a checkpoint holds."""
        return {f"{name}_bits": self.packed, f"{name}_steps": self.steps.astype(np.float16)}

    @classmethod
    def restore(cls, arrays: Mapping[str, Any], name: str) -> "BitMatrix":
        """Build it from what `arrays` gave."""
        steps = np.asarray(arrays[f"{name}_steps"], np.float32)
        return cls(np.asarray(arrays[f"{name}_bits"], np.uint8), steps)
