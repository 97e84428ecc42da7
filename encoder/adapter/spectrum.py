"""How an adapter's change is spread: over blocks, and over directions within a layer.

All of it follows from the r x r Gram matrices of a layer's factors, so that ΔW is never
formed and every weight is read once. The same pass finds layers that are zero and those that
hold NaN or infinity: the trace of a Gram matrix is the sum of all squares of its factor.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from encoder.adapter.gram import DamagedLayerError, Gram, check_finite, gram_of, norm_of, widen
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
from encoder.adapter.product_batch import (
    Doubles,
    ProductBatch,
    batches,
    is_small,
    measure_batch,
)
from encoder.base_models.families import block_of
from encoder.late_torch import Tensor, torch

# What float16 images and float32 matrices are computed with.
LARGEST_NORM = float(np.finfo(np.float32).max)
# Gram matrices of a higher rank (full differences, LoHa of rank 64) would take minutes, so
# random probes stand in for them. The standard error is sqrt(2 / PROBES) of the
# effective rank at most, for one of 1.
MAX_EXACT_RANK, PROBES = 1024, 64
# How much of such a layer is formed at once: 4 MB.
PART_ENTRIES = 1_000_000
# The tensors of a layer whose kind has most of them: a LoHa with two Tucker cores.
MOST_TENSORS = 6


class Watcher(Protocol):
    """What else looks at layers while they are in memory."""

    def add(
        self, name: str, layer: Layer, norm: float | None = None, factors: Factors | None = None
    ) -> None:
        """Look at a sound layer.

        Where measuring has told them, `norm` is ||ΔW|| and `factors` are its own in float32
        (float64 of such layers).
        """
        ...

    def add_batch(self, batch: ProductBatch, norms: Doubles) -> None:
        """Look at sound layers of equal shapes; `norms` (layers,) are those of their ΔW, not 0."""
        ...


@dataclass(frozen=True, slots=True)
class BlockSpectrum:
    """What an adapter does to one block of its base model."""

    block: str  # "transformer_blocks.3"
    energy: float  # share of the adapter's ||ΔW||²
    effective_rank: float  # of its layers' ΔW, averaged by energy; 1 to their rank


@dataclass(frozen=True, slots=True)
class Measures:
    """What one pass over an adapter's weights tells."""

    norm: float  # sqrt of the sum of ||ΔW||² over layers
    blocks: tuple[BlockSpectrum, ...]
    zero_layers: tuple[str, ...]
    # Layer -> what is wrong with its numbers; such layers count nowhere else.
    damaged: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LayerMeasure:
    """||ΔW|| of a layer and the effective rank of ΔW; both 0 where it is zero."""

    norm: float
    effective_rank: float


# What overflows is told by traces.
@np.errstate(all="ignore")
def measure_layers(
    layers: Mapping[str, Layer],
    release: Callable[[Layer], None] = lambda _: None,
    watchers: Sequence[Watcher] = (),
) -> Measures:
    """Read every layer once: its strength, its effective rank and whether it is sound.

    Of a DoRA, the change of direction is measured. Only checked are weights put in the place
    of the base's, as what they change depends on it, and products of a rank so high that
    measuring would take longer than reading. `watchers` are shown every sound layer, its norm
    exact; `release` is called after each layer.
    """
    measuring = _Measuring(watchers, release)
    small = {
        name: layer
        for name, layer in layers.items()
        if isinstance(layer, LoraLayer) and is_small(layer)
    }
    for batch in batches(small):
        measuring.look_at_batch(batch)
    for name, layer in layers.items():
        if name not in small:
            measuring.look_at(name, layer)
    return measuring.finish(layers)


class _Measuring:
    """What is known of layers so far."""

    def __init__(self, watchers: Sequence[Watcher], release: Callable[[Layer], None]) -> None:
        self._watchers, self._release = watchers, release
        self._measures: dict[str, LayerMeasure] = {}
        self._damaged: dict[str, str] = {}
        # Projections split from a fused one share their down.
        self._known: dict[int, Gram] = {}

    def look_at(self, name: str, layer: Layer) -> None:
        # Formed here, so that they are formed once for all.
        factors = _wide_factors(layer) if self._watchers and is_product(layer) else None
        try:
            if _is_quick(layer):
                quick = not self._watchers
                measured = measure_layer(layer, self._known, quick=quick, factors=factors)
            else:
                measured = _check_layer(layer)
        except DamagedLayerError as error:
            self._damaged[name] = str(error)
        else:
            if measured is not None:
                self._measures[name] = measured
            for watcher in self._watchers:
                watcher.add(name, layer, None if measured is None else measured.norm, factors)
        self._release(layer)

    def look_at_batch(self, batch: ProductBatch) -> None:
        norms, ranks, known = measure_batch(batch)
        places = known.nonzero()[0].tolist()
        for place in places:
            measured = LayerMeasure(float(norms[place]), float(ranks[place]))
            self._measures[batch.names[place]] = measured
        if places:
            sound = batch.take(places)
            for watcher in self._watchers:
                watcher.add_batch(sound, norms[known])
        for place in (~known).nonzero()[0].tolist():
            self.look_at(batch.names[place], batch.layers[place])
        for place in places:
            self._release(batch.layers[place])

    def finish(self, order: Iterable[str]) -> Measures:
        """Return what was measured, in the order of all layers' names."""
        measures = {name: self._measures[name] for name in order if name in self._measures}
        # Relative to the largest, so that no square overflows.
        most = max((part.norm for part in measures.values()), default=0.0)
        total = sum((part.norm / most) ** 2 for part in measures.values()) if most else 0.0
        return Measures(
            norm=most * math.sqrt(total),
            blocks=_spectra({k: m for k, m in measures.items() if m.norm}, most, total),
            zero_layers=tuple(name for name, part in measures.items() if not part.norm),
            damaged={name: self._damaged[name] for name in order if name in self._damaged},
        )


def is_evidently_sound(layers: Mapping[str, Layer], norm: float) -> bool:
    """Whether `measure_layers` could find no layer damaged, nor all of them zero.

    `norm` is that of all tensors together. It tells at once of most adapters what `measure_layers`
    has to look for: no ΔW is larger than the product of its tensors' norms.
    """
    scale = max((abs(layer.scale) for layer in layers.values()), default=0.0)
    if not scale * max(norm, 1.0) ** MOST_TENSORS <= LARGEST_NORM:
        return False
    looked_at = (
        measure_layer(layer, {}, quick=True) if _is_quick(layer) else _check_layer(layer)
        for layer in layers.values()
    )
    return any(measured is None or measured.norm for measured in looked_at)


def _is_quick(layer: Layer) -> bool:
    if isinstance(layer, DenseLayer | DoraLayer) or find_kronecker(layer) is not None:
        return True
    return layer.rank <= MAX_EXACT_RANK


def is_product(layer: Layer) -> bool:
    """Whether a layer is measured by its factors."""
    whole = layer.whole if isinstance(layer, RowsLayer) else layer
    return isinstance(whole, LoraLayer | LohaLayer) and layer.rank <= MAX_EXACT_RANK


def _wide_factors(layer: Layer) -> Factors:
    down, up = layer.factors()
    return widen(down), widen(up)


def _check_layer(layer: Layer) -> LayerMeasure | None:
    tensors = layer.tensors()
    for tensor in tensors:
        check_finite(tensor)
    zero = layer.scale == 0 or not all(tensor.any() for tensor in tensors)
    return LayerMeasure(0.0, 0.0) if zero else None


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
            if quick and not _is_quick(layer.change):
                return _check_layer(layer)
            return measure_layer(layer.change, known, quick=quick)
        case LokrLayer() | RowsLayer(whole=LokrLayer()):
            kronecker = find_kronecker(layer)
            assert kronecker is not None
            measured = _measure_kronecker(kronecker)
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


@dataclass(frozen=True, slots=True)
class Kronecker:
    """Some rows of w1 ⊗ w2, which is large where both are small."""

    w1: Tensor
    w2: Tensor
    rows: Tensor  # (rows,), which of the product's are taken, in this order


def find_kronecker(layer: Layer) -> Kronecker | None:
    """Return a LoKr's two matrices, in float32; None of other layers."""
    whole = layer.whole if isinstance(layer, RowsLayer) else layer
    if not isinstance(whole, LokrLayer):
        return None
    w1, w2 = (_side(parts).delta().flatten(1) for parts in (whole.w1, whole.w2))
    rows = torch.arange(len(w1) * len(w2))
    if isinstance(layer, RowsLayer):
        rows = torch.cat([rows[part] for part in layer.rows])
    return Kronecker(w1, w2, rows)


def _measure_kronecker(layer: Kronecker) -> LayerMeasure:
    """Measure w1 ⊗ w2: entries of its Gram matrix are products of those of the sides' own."""
    for side in (layer.w1, layer.w2):
        check_finite(side)
    norm_1, norm_2 = norm_of(layer.w1), norm_of(layer.w2)
    if norm_1 == 0 or norm_2 == 0:
        return LayerMeasure(0.0, 0.0)
    w1, w2 = layer.w1.double() / norm_1, layer.w2.double() / norm_2
    # (outputs of w1, outputs of w2), 1 where a row is taken and else 0.
    rows = torch.zeros(len(w1) * len(w2), dtype=torch.float64)
    rows[layer.rows] = 1
    rows = rows.view(len(w1), len(w2))
    energy = (w1.square().sum(1) @ rows @ w2.square().sum(1)).item()
    half = _square_gram_times(w1, rows)
    square = (rows * _square_gram_times(w2, half.T).T).sum().item()
    if energy <= 0 or square <= 0:
        return LayerMeasure(0.0, 0.0)
    return LayerMeasure(math.sqrt(energy) * norm_1 * norm_2, energy**2 / square)


def _square_gram_times(rows: Tensor, right: Tensor) -> Tensor:
    """Return (rows · rowsᵀ)² · right, squared by entry, a part of the Gram matrix at a time."""
    step = max(1, PART_ENTRIES // len(rows))
    # Written in place: small results between large ones keep the allocator from reusing memory.
    product = torch.empty(len(rows), right.shape[1], dtype=rows.dtype)
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        torch.mm((rows[part] @ rows.T).square_(), right, out=product[part])
    return product


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


def _spectra(
    measures: Mapping[str, LayerMeasure], most: float, total: float
) -> tuple[BlockSpectrum, ...]:
    blocks: dict[str, list[LayerMeasure]] = {}
    for name, part in measures.items():
        blocks.setdefault(block_of(name), []).append(part)
    spectra = []
    for block in sorted(blocks, key=_block_order):
        energies = [(part.norm / most) ** 2 for part in blocks[block]]
        ranks = [part.effective_rank for part in blocks[block]]
        energy = sum(energies)
        # Norms far below the largest have squares that vanish; their block is still there.
        mean = (
            sum(e * r for e, r in zip(energies, ranks, strict=True)) / energy
            if energy
            else sum(ranks) / len(ranks)
        )
        spectra.append(BlockSpectrum(block, energy / total, mean))
    return tuple(spectra)


def _block_order(block: str) -> tuple[str, bool, int]:
    """Blocks by number, FLUX's single ones after its double ones."""
    stem, _, number = block.partition(".")
    return stem.removeprefix("single_"), stem.startswith("single_"), int(number or -1)
