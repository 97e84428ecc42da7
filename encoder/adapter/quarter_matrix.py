"""Large matrices in four bits a number."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from encoder.arrays import Floats

# How many rows of bytes are turned into float32 at a time: with a few hundred columns they stay
# in the processor's cache.
PART = 1024


@dataclass(frozen=True, slots=True, eq=False)
class QuarterMatrix:
    """A matrix in four bits a number: a step for each column, times -7 to 7.

    It stays packed, as on disk: unpacked, that of a large base would take 160 MB.
    """

    packed: npt.NDArray[np.uint8]  # (rows / 2, columns): an even row's levels + 8, an odd's * 16
    steps: Floats  # (columns,)
    rows: int

    @classmethod
    def of(cls, matrix: Floats) -> "QuarterMatrix":
        """Round a matrix; what lies beyond 2.8 standard deviations is cut off."""
        # The cut that loses least of normally distributed numbers at 15 levels.
        steps = 2.8 * np.sqrt(np.square(matrix).mean(axis=0)) / 7
        levels = np.round(matrix / np.maximum(steps, 1e-30)).clip(-7, 7)
        return cls.of_levels(levels.astype(np.int8), steps.astype(np.float32))

    @classmethod
    def of_levels(cls, levels: npt.NDArray[np.int8], steps: Floats) -> "QuarterMatrix":
        """Pack levels (rows, columns) from -7 to 7."""
        even, odd = levels[0::2], levels[1::2]
        packed = (even + 8).astype(np.uint8)
        packed[: len(odd)] |= (odd + 8).astype(np.uint8) << 4
        return cls(packed, steps, len(levels))

    @property
    def columns(self) -> int:
        return int(self.packed.shape[1])

    def apply(self, rows: Floats) -> Floats:
        """Return rows @ matrix."""
        columns = self.columns
        product = np.zeros((len(rows), columns), np.float32)
        bytes_buffer = np.empty((PART, columns), np.uint8)
        floats_buffer = np.empty((PART, columns), np.float32)
        for start in range(0, len(self.packed), PART):
            packed = self.packed[start : start + PART]
            levels, floats = bytes_buffer[: len(packed)], floats_buffer[: len(packed)]
            # Odd rows stay 16 times as large: shifting bytes takes longer than all the rest.
            for odd, mask, zero, unit in ((0, 15, 8, 1), (1, 240, 128, 16)):
                np.bitwise_and(packed, mask, out=levels)
                levels -= zero
                np.copyto(floats, levels.view(np.int8))
                part = rows[:, 2 * start + odd : 2 * (start + len(packed)) : 2]
                # The last byte of an odd number of rows has one only.
                product += part / np.float32(unit) @ floats[: part.shape[1]]
        return product * self.steps

    def dense(self) -> Floats:
        """Return the matrix in float32."""
        levels = np.empty((2 * len(self.packed), self.columns), np.float32)
        levels[0::2] = self.packed & 15
        levels[1::2] = self.packed >> 4
        return (levels[: self.rows] - 8) * self.steps

    def arrays(self, name: str) -> dict[str, npt.NDArray[Any]]:
        """Return what a checkpoint holds."""
        return {f"{name}_levels": self.packed, f"{name}_steps": self.steps}

    @classmethod
    def restore(cls, arrays: Mapping[str, Any], name: str, rows: int) -> "QuarterMatrix":
        """Build it from what `arrays` gave."""
        packed = np.asarray(arrays[f"{name}_levels"], np.uint8)
        return cls(packed, np.asarray(arrays[f"{name}_steps"], np.float32), rows)
