"""What stands for a tensor where only a file's header was read: it has a shape and no numbers.

It can be cut and reshaped as a tensor can, so that a header is judged by the code that puts
layers together. It does without torch, whose own tensors without data ("meta") it is like.
"""

import math
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class HeaderTensor:
    """A shape that is used as a tensor."""

    shape: tuple[int, ...]
    key: str = ""  # the tensor's name in its file; "" of what is not all of it as it is
    is_meta = True

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def T(self) -> Self:  # noqa: N802 (torch's name)
        return type(self)(self.shape[::-1])

    def __len__(self) -> int:
        return self.shape[0]

    def numel(self) -> int:
        return math.prod(self.shape)

    def float(self) -> Self:
        return self

    def roll(self, shift: int, axis: int = 0) -> Self:
        return self

    def flatten(self, start: int = 0) -> Self:
        return type(self)((*self.shape[:start], math.prod(self.shape[start:])))

    def reshape(self, *shape: int) -> Self:
        assert math.prod(shape) == self.numel(), (shape, self.shape)
        return type(self)(shape)

    def __mul__(self, factor: object) -> Self:
        return self

    def __getitem__(self, cuts: int | slice | tuple[int | slice | None, ...]) -> Self:
        """Cut by slices, choose by numbers, or add an axis where there is None."""
        sizes, shape = list(self.shape), list[int]()
        for cut in cuts if isinstance(cuts, tuple) else (cuts,):
            if cut is None:
                shape.append(1)
                continue
            size = sizes.pop(0)
            if isinstance(cut, slice):
                shape.append(len(range(size)[cut]))
        return type(self)((*shape, *sizes))
