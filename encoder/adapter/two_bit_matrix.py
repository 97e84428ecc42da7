"""Large matrices in two bits a number."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from encoder.arrays import Floats

# What loses least of normally distributed numbers at four levels (-1.510, -.4528, .4528 and 1.510
# standard deviations: Max, 1960, https://doi.org/10.1109/TIT.1960.1057548) as whole numbers.
LEVELS, UNIT = np.array([-10, -3, 3, 10], np.int8), np.float32(0.151)
BOUNDS = (LEVELS[1:] + LEVELS[:-1]) / 2 * UNIT
# A byte has four levels, the first in its highest bits; looked up as one number: products
# with one vector take a third of the time that they take with four.
SHIFTS = np.array([6, 4, 2, 0], np.uint8)
LEVELS_OF_BYTES = LEVELS[(np.arange(256)[:, None] >> SHIFTS) & 3].view(np.uint32)[:, 0]
# How many rows are unpacked at a time: with ten thousand columns they stay near the processor.
PART = 128


@dataclass(frozen=True, slots=True, eq=False)
class TwoBitMatrix:
    """A matrix in two bits a number: each column's standard deviation, times one of four levels."""

    packed: npt.NDArray[np.uint8]  # (rows, columns / 4), the first column in the highest bits
    steps: Floats  # (columns,)

    @classmethod
    def of(cls, matrix: Floats) -> "TwoBitMatrix":
        """Round a matrix to the nearest levels."""
        steps = np.sqrt(np.square(matrix).mean(axis=0)).astype(np.float32)
        levels = np.searchsorted(BOUNDS, matrix / np.maximum(steps, np.float32(1e-30)))
        padded = np.zeros((len(matrix), -(-matrix.shape[1] // 4) * 4), np.uint8)
        padded[:, : matrix.shape[1]] = levels
        packed = (padded.reshape(len(matrix), -1, 4) << SHIFTS).sum(axis=2, dtype=np.uint8)
        return cls(packed, steps)

    @property
    def rows(self) -> int:
        return len(self.packed)

    def products(self, vectors: Floats) -> Floats:
        """Return vectors (n, columns) @ matrix.T, (n, rows)."""
        scaled = vectors * (self.steps * UNIT)
        products = np.empty((len(vectors), self.rows), np.float32)
        for start in range(0, self.rows, PART):
            part = self.packed[start : start + PART]
            levels = LEVELS_OF_BYTES[part].view(np.int8)[:, : len(self.steps)]
            products[:, start : start + len(part)] = scaled @ levels.astype(np.float32).T
        return products

    def arrays(self, name: str) -> dict[str, npt.NDArray[Any]]:
        """Return what a checkpoint holds."""
        return {f"{name}_packed": self.packed, f"{name}_steps": self.steps.astype(np.float16)}

    @classmethod
    def restore(cls, arrays: Mapping[str, Any], name: str) -> "TwoBitMatrix":
        """Build it from what `arrays` gave."""
        steps = np.asarray(arrays[f"{name}_steps"], np.float32)
        return cls(np.asarray(arrays[f"{name}_packed"], np.uint8), steps)
