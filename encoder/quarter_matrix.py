"""Large matrices in four bits a number."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

PART = 32_768  # rows


@dataclass(frozen=True, slots=True, eq=False)
class QuarterMatrix:
    """A matrix in four bits a number: a step for each column, times -7 to 7."""

    levels: npt.NDArray[np.int8]  # (rows, columns)
    steps: Floats  # (columns,)

    @classmethod
    def of(cls, matrix: Floats) -> "QuarterMatrix":
        """Round a matrix; what lies beyond 2.8 standard deviations is cut off."""
        # The cut that loses least of normally distributed numbers at 15 levels.
        steps = 2.8 * np.sqrt(np.square(matrix).mean(axis=0)) / 7
        levels = np.round(matrix / np.maximum(steps, 1e-30)).clip(-7, 7)
        return cls(levels.astype(np.int8), steps.astype(np.float32))

    def apply(self, rows: Floats) -> Floats:
        """Return rows @ matrix."""
        product = np.zeros((len(rows), self.levels.shape[1]), np.float32)
        # Part by part, since in float32 the matrix of a large base would take a gigabyte.
        for start in range(0, len(self.levels), PART):
            part = slice(start, start + PART)
            product += rows[:, part] @ self.levels[part].astype(np.float32)
        return product * self.steps

    def arrays(self, name: str) -> dict[str, npt.NDArray[Any]]:
        """Return what a checkpoint holds: two rows' levels in each byte."""
        even, odd = self.levels[0::2], self.levels[1::2]
        packed = (even + 8).astype(np.uint8)
        packed[: len(odd)] |= (odd + 8).astype(np.uint8) << 4
        return {f"{name}_levels": packed, f"{name}_steps": self.steps}

    @classmethod
    def restore(cls, arrays: Mapping[str, Any], name: str, rows: int) -> "QuarterMatrix":
        """Build it from what `arrays` gave."""
        packed = np.asarray(arrays[f"{name}_levels"], np.uint8)
        levels = np.empty((2 * len(packed), packed.shape[1]), np.int8)
        levels[0::2], levels[1::2] = packed & 15, packed >> 4
        return cls(levels[:rows] - np.int8(8), np.asarray(arrays[f"{name}_steps"], np.float32))
