"""Large matrices in four bits a number."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

# So many rows at a time are turned into float32: with a few hundred columns they stay in the
# processor's cache.
PART = 1024


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
        columns = self.levels.shape[1]
        product = np.zeros((len(rows), columns), np.float32)
        # Part by part, since in float32 the matrix of a large base would take a gigabyte.
        buffer = np.empty((PART, columns), np.float32)
        for start in range(0, len(self.levels), PART):
            levels = self.levels[start : start + PART]
            part = buffer[: len(levels)]
            np.copyto(part, levels)
            product += rows[:, start : start + PART] @ part
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
        levels = np.empty((2 * len(packed), packed.shape[1]), np.uint8)
        # In place: copies of a large base's matrix would take more memory than all else.
        np.bitwise_and(packed, 15, out=levels[0::2])
        np.right_shift(packed, 4, out=levels[1::2])
        levels -= 8
        steps = np.asarray(arrays[f"{name}_steps"], np.float32)
        return cls(levels[:rows].view(np.int8), steps)
