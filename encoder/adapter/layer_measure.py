"""How strong one layer's change is, and over how many directions it is spread.

Both follow from the r x r Gram matrices of the layer's factors, so that ΔW is never formed and
every weight is read once; where the rank is too high for that, ΔW is looked at by parts.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from encoder.adapter.gram import DamagedLayerError, Gram, check_finite, gram_of, norm_of
from encoder.adapter.layer_cuts import cut_rows
from encoder.adapter.layers import (
    DenseLayer,
    DoraLayer,
    Factors,
    Layer,
    LohaLayer,
    LokrLayer,
    LoraLayer,
    ReplacedLayer,
    RowsLayer,
)
from encoder.late_torch import Tensor, torch

# What float16 images and float32 matrices are computed with.
LARGEST_NORM = float(np.finfo(np.float32).max)
# Gram matrices of a higher rank (full differences, LoHa of rank 64) would take minutes, so
# random probes stand in for them. The standard error is sqrt(2 / PROBES) of the
# effective rank at most, for one of 1.
MAX_EXACT_RANK, PROBES = 1024, 64
# How much of such a layer is formed at once: 4 MB.
PART_ENTRIES = 1_000_000


@dataclass(frozen=True, slots=True)
class LayerMeasure:
    """||ΔW|| of a layer and the effective rank of ΔW; both 0 where it is zero."""

    norm: float
    effective_rank: float


def measure_layer(
    layer: Layer,
    known: dict[int, Gram] | None = None,
    *,
    quick: bool = False,
    factors: Factors | None = None,
) -> LayerMeasure | None:
    """Return the norm and the effective rank of a layer's ΔW; None where the base decides.

    The effective rank is the participation ratio (Σλ)² / Σλ² of ΔW's squared singular
    values λ [1], the exponential of their Rényi entropy of order 2: k equal directions
    count as k. Unlike the entropy of Shannon's kind [2], of which it is a lower bound, it
    needs traces only and no eigenvalues. `known` holds Gram matrices of downs by address,
    `factors` are the layer's where the caller has them.
    `quick` rounds those of bfloat16 factors to bfloat16 where the processor gains by it:
    results are good to 0.5 % (a test) and come several times as fast.

    - [1] Gao et al., 2017, https://doi.org/10.1101/214262
    - [2] Roy & Vetterli, 2007, https://ieeexplore.ieee.org/document/7098875

    Raises:
        DamagedLayerError: NaN, infinity, or a norm that float32 cannot hold.
    """
    if not math.isfinite(layer.scale):
        raise DamagedLayerError(f"has the scale {layer.scale}")
    match layer:
        case ReplacedLayer():
            check_finite(layer.weight)
            return None
        case DoraLayer():
            check_finite(layer.magnitude)
            if quick and not is_quick(layer.change):
                return check_layer(layer)
            return measure_layer(layer.change, known, quick=quick)
        case LokrLayer():
            measured = _measure_sides(layer)
        case RowsLayer(whole=LokrLayer() as whole, rows=rows):
            measured = _measure_rows(whole, rows)
        case DenseLayer() if layer.rank <= MAX_EXACT_RANK:
            measured = _measure_dense(layer.diff)
        case _ if layer.rank <= MAX_EXACT_RANK:
            factors = layer.factors() if factors is None else factors
            measured = _measure_product(layer, factors, {} if known is None else known, quick)
        case _:
            measured = _measure_by_probes(layer)
    norm = measured.norm * abs(layer.scale)
    if not norm <= LARGEST_NORM:
        raise DamagedLayerError("is too large to compute with")
    return LayerMeasure(norm, measured.effective_rank) if norm else LayerMeasure(0.0, 0.0)


def is_quick(layer: Layer) -> bool:
    """Whether measuring a layer takes hardly longer than reading it."""
    if isinstance(layer, DenseLayer | DoraLayer) or find_lokr(layer) is not None:
        return True
    return layer.rank <= MAX_EXACT_RANK


def is_product(layer: Layer) -> bool:
    """Whether a layer is measured by its factors."""
    whole = layer.whole if isinstance(layer, RowsLayer) else layer
    return isinstance(whole, LoraLayer | LohaLayer) and layer.rank <= MAX_EXACT_RANK


def check_layer(layer: Layer) -> LayerMeasure | None:
    """Look for damage and for zeros only; None where a layer is neither.

    Raises:
        DamagedLayerError: NaN or infinity.
    """
    tensors = layer.tensors()
    for tensor in tensors:
        check_finite(tensor)
    zero = layer.scale == 0 or not all(tensor.any() for tensor in tensors)
    return LayerMeasure(0.0, 0.0) if zero else None


def _measure_product(
    layer: Layer, factors: Factors, known: dict[int, Gram], quick: bool
) -> LayerMeasure:
    """Measure up · down."""
    down, up = factors
    if isinstance(layer, LoraLayer) and layer.mid is None:
        address = layer.down.data_ptr()
        if address not in known:
            # Those that share a down follow each other. All Gram matrices of a large adapter
            # together would take as much memory as its weights.
            known.clear()
            known[address] = gram_of(down, quick)
        down_gram, down_trace = known[address]
    else:
        down_gram, down_trace = gram_of(down, quick)
    up_gram, up_trace = gram_of(up.T, quick)
    # tr(ΔW ΔWᵀ) and tr((ΔW ΔWᵀ)²) of the factors divided by their norms.
    product = up_gram @ down_gram
    energy, square = float(product.trace()), float(np.vdot(product, product.T))
    if energy <= 0 or square <= 0:
        return LayerMeasure(0.0, 0.0)
    norm = math.sqrt(energy) * math.sqrt(down_trace) * math.sqrt(up_trace)
    return LayerMeasure(norm, energy**2 / square)


def _measure_dense(matrix: Tensor) -> LayerMeasure:
    rows = matrix.flatten(1)
    gram, trace = gram_of(rows if len(rows) <= rows.shape[1] else rows.T)
    return LayerMeasure(math.sqrt(trace), 1 / float(np.vdot(gram, gram)) if trace else 0.0)


def _measure_sides(layer: LokrLayer) -> LayerMeasure:
    """Measure w1 ⊗ w2: its singular values are all products of one of w1's and one of w2's."""
    first, second = (_measure_side(_side(parts)) for parts in (layer.w1, layer.w2))
    return LayerMeasure(first.norm * second.norm, first.effective_rank * second.effective_rank)


def _measure_side(side: Layer) -> LayerMeasure:
    if side.rank > min(side.shape[0], math.prod(side.shape[1:])):
        # Its factors are larger than their product.
        side = DenseLayer(side.delta())
    measured = measure_layer(side)
    assert measured is not None
    return measured


@dataclass(frozen=True, slots=True)
class Kronecker:
    """Some rows of w1 ⊗ w2, which is large where both are small."""

    w1: Tensor
    w2: Tensor
    rows: Tensor  # (rows,), which of the product's are taken, in this order


def find_lokr(layer: Layer) -> LokrLayer | None:
    """Return the LoKr that a layer is, or some rows of."""
    whole = layer.whole if isinstance(layer, RowsLayer) else layer
    return whole if isinstance(whole, LokrLayer) else None


def form_kronecker(layer: Layer) -> Kronecker:
    """Return the two matrices of the LoKr that a layer is, or some rows of, in float32."""
    lokr = find_lokr(layer)
    assert lokr is not None
    w1, w2 = (_side(parts).delta().flatten(1) for parts in (lokr.w1, lokr.w2))
    rows = torch.arange(len(w1) * len(w2))
    if isinstance(layer, RowsLayer):
        rows = torch.cat([rows[part] for part in layer.rows])
    return Kronecker(w1, w2, rows)


def _measure_rows(whole: LokrLayer, parts: tuple[slice, ...]) -> LayerMeasure:
    """Measure rows of w1 ⊗ w2: entries of its Gram matrix are products of those of the sides'."""
    w1, w2 = _narrow(whole.w1), _narrow(whole.w2)
    norm_1, norm_2 = norm_of(w1), norm_of(w2)
    if norm_1 == 0 or norm_2 == 0:
        return LayerMeasure(0.0, 0.0)
    w1, w2 = w1 / norm_1, w2 / norm_2
    # (outputs of w1, outputs of w2), 1 where a row is taken and else 0.
    rows = torch.zeros(len(w1) * len(w2), dtype=torch.float64)
    for part in parts:
        rows[part] = 1
    rows = rows.view(len(w1), len(w2))
    energy = (w1.square().sum(1) @ rows @ w2.square().sum(1)).item()
    half = _square_gram_times(w1, rows)
    square = (rows * _square_gram_times(w2, half.T).T).sum().item()
    if energy <= 0 or square <= 0:
        return LayerMeasure(0.0, 0.0)
    return LayerMeasure(math.sqrt(energy) * norm_1 * norm_2, energy**2 / square)


def _narrow(parts: tuple[Tensor, ...]) -> Tensor:
    """Return a matrix in float64 whose rows have the products that those of a side have.

    Of a side in two factors it has as many columns as they have, where that is fewer.
    """
    for part in parts:
        check_finite(part)
    if len(parts) == 1:
        return parts[0].flatten(1).double()
    down, up = (part.double() for part in _side(parts).factors())
    # R of QR has the products of the down's rows: RᵀR = down · downᵀ.
    return up @ (torch.linalg.qr(down.T, mode="r").R.T if len(down) < down.shape[1] else down)


def _square_gram_times(rows: Tensor, right: Tensor) -> Tensor:
    """Return (rows · rowsᵀ)² · right, squared by entry, some rows at a time."""
    count, width = rows.shape
    # Written in place: small results between large ones keep the allocator from reusing memory.
    product = torch.empty(count, right.shape[1], dtype=rows.dtype)
    if width**2 >= count:
        for part in _parts(count, count):
            torch.mm((rows[part] @ rows.T).square_(), right, out=product[part])
        return product
    # The square of two rows' product is the product of what they make each with itself.
    inner = torch.zeros(width**2, right.shape[1], dtype=rows.dtype)
    for part in _parts(count, width**2):
        inner.addmm_(_with_itself(rows[part]).T, right[part])
    for part in _parts(count, width**2):
        torch.mm(_with_itself(rows[part]), inner, out=product[part])
    return product


def _with_itself(rows: Tensor) -> Tensor:
    """Return the products of any two numbers of a row: (count, width) -> (count, width²)."""
    return (rows[:, :, None] * rows[:, None]).flatten(1)


def _parts(count: int, width: int) -> Iterator[slice]:
    """Yield slices of `count` rows, so that a matrix as wide is formed by parts."""
    step = max(1, PART_ENTRIES // width)
    return (slice(start, start + step) for start in range(0, count, step))


def _side(parts: tuple[Tensor, ...]) -> Layer:
    if len(parts) == 1:
        return DenseLayer(parts[0])
    if len(parts) == 2:
        return LoraLayer(parts[1], parts[0], 1.0)
    return LoraLayer(parts[1], parts[0].T, 1.0, mid=parts[2])


def _measure_by_probes(layer: Layer) -> LayerMeasure:
    """Measure ΔW itself, Σλ² by Hutchinson's estimator: the mean of |ΔWᵀΔW g|² over random g."""
    norm = math.hypot(*(norm_of(part) for _, part in delta_parts(layer)))
    if not 0 < norm <= LARGEST_NORM or layer.scale == 0:
        return LayerMeasure(norm, 0.0)
    width = math.prod(layer.shape[1:])
    probes = torch.randn(width, PROBES, generator=torch.Generator().manual_seed(0))
    answers = torch.zeros(width, PROBES)
    for _, part in delta_parts(layer):
        answers += (part / norm).T @ ((part / norm) @ probes)
    square = answers.double().square().sum(0).mean().item()
    return LayerMeasure(norm / abs(layer.scale), 1 / square)


def delta_parts(layer: Layer) -> Iterator[tuple[slice, Tensor]]:
    """Yield ΔW in float32 by some rows (rows, inputs) at a time, as memory is dear.

    Raises:
        DamagedLayerError: the weights hold NaN or infinity, or their products do.
    """
    for tensor in layer.tensors():
        check_finite(tensor)
    outputs, width = layer.shape[0], math.prod(layer.shape[1:])
    step = max(1, PART_ENTRIES // width)
    for start in range(0, outputs, step):
        rows = slice(start, min(outputs, start + step))
        part = cut_rows(layer, rows).delta().flatten(1)
        if not part.isfinite().all():
            raise DamagedLayerError("is too large to compute with")
        yield rows, part
