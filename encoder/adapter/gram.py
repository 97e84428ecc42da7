"""Gram matrices of factors, sums of squares, and whether numbers can be computed with."""

import math
from functools import cache

import numpy as np
import numpy.typing as npt

from encoder.late_torch import Tensor, torch

# Between these, sums of squares of float32 are exact to rounding: below, squares of single
# entries turn subnormal or vanish.
SMALLEST_TRACE, LARGEST_TRACE = 1e-25, float(np.finfo(np.float32).max)
# Up to this rank, products of no more multiplications than these are computed by kernels of
# OpenBLAS that are twice as fast as its others; beyond it they have too few columns.
SMALL_RANK, SMALL_PRODUCT = 32, 1_000_000

# A Gram matrix in float64 divided by its trace, and the trace.
Gram = tuple[npt.NDArray[np.float64], float]


class DamagedLayerError(ValueError):
    """A layer's numbers cannot be computed with."""


def widen(tensor: Tensor) -> Tensor:
    """Return a tensor in float32, or float64 as it is."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def norm_of(tensor: Tensor) -> float:
    """Return the root of the sum of squares, summed in float64."""
    return float(torch.linalg.vector_norm(tensor, dtype=torch.float64))


def check_finite(tensor: Tensor) -> None:
    """Raise DamagedLayerError if a tensor holds NaN or infinity."""
    # float8 has no arithmetic on a CPU.
    if not (tensor.float() if tensor.itemsize == 1 else tensor).isfinite().all():
        raise DamagedLayerError("holds NaN or infinity")


def gram_of(rows: Tensor, quick: bool = False) -> Gram:
    """Return the Gram matrix of rows (r, width), summed in float32 where that holds squares.

    `quick` rounds sums of bfloat16 to bfloat16 where the processor gains by it.

    Raises:
        DamagedLayerError: the rows hold NaN or infinity.
    """
    if quick and rows.dtype == torch.bfloat16 and _has_fast_bfloat16():
        gram = (rows @ rows.T).float().numpy()
    else:
        gram = _times_own_transpose(widen(rows))
    trace = float(gram.trace(dtype=np.float64))
    if SMALLEST_TRACE <= trace <= LARGEST_TRACE:
        return gram / np.float64(trace), trace
    # NaN, infinity, overflow, underflow or zero: float64 tells them apart.
    largest = rows.double().abs().max().item()
    if not math.isfinite(largest):
        raise DamagedLayerError("holds NaN or infinity")
    if largest == 0:
        return np.zeros(gram.shape), 0.0
    gram = _times_own_transpose(rows.double() / largest)
    trace = float(gram.trace())
    return gram / np.float64(trace), trace * largest * largest


def _times_own_transpose(rows: Tensor) -> npt.NDArray[np.floating]:
    """Return rows · rowsᵀ, by numpy: unlike torch it computes half of what is symmetric."""
    array: npt.NDArray[np.floating] = rows.numpy()
    # What overflows is told by the trace.
    with np.errstate(all="ignore"):
        return array @ array.T if len(array) > SMALL_RANK else _times_own_transpose_by_parts(array)


def _times_own_transpose_by_parts(rows: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Return rows · rowsᵀ of few rows, as a sum of small products."""
    count, width = rows.shape
    gram = np.zeros((count, count), rows.dtype)
    half = max(1, count // 2)
    step = SMALL_PRODUCT // (count * half)
    for start in range(0, width, step):
        part = rows[:, start : start + step]
        gram[:half] += part[:half] @ part.T
        gram[half:] += part[half:] @ part.T
    return gram


@cache
def _has_fast_bfloat16() -> bool:
    """Whether products of bfloat16 are computed at all but one by one."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
