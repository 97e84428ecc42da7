"""How an adapter's change is spread: over blocks, and over directions within a layer.

All of it follows from the r x r Gram matrices of a layer's factors, so that ΔW is never
formed and every weight is read once. The same pass finds layers that are zero and those that
hold NaN or infinity: the trace of a Gram matrix is the sum of all squares of its factor.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

# Between these, sums of squares of float32 are exact to rounding: below, squares of single
# entries turn subnormal or vanish.
SMALLEST_TRACE, LARGEST_TRACE = 1e-25, torch.finfo(torch.float32).max
# What float16 images and float32 matrices are computed with.
LARGEST_NORM = torch.finfo(torch.float32).max


class Factored(Protocol):
    """The change of one layer: ΔW = scale · up · down."""

    @property
    def scale(self) -> float: ...

    def factors(self) -> tuple[Tensor, Tensor]:
        """Return down (rank, d_in) and up (d_out, rank)."""


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


class DamagedLayerError(ValueError):
    """A layer's numbers cannot be computed with."""


def block_spectra(layers: Mapping[str, Factored]) -> tuple[BlockSpectrum, ...]:
    """Return the share of energy and the effective rank of every block that is changed."""
    return measure(layers).blocks


def measure(layers: Mapping[str, Factored]) -> Measures:
    """Read every layer once: its strength, its effective rank and whether it is sound."""
    measures: dict[str, LayerMeasure] = {}
    damaged: dict[str, str] = {}
    for name, layer in layers.items():
        try:
            measures[name] = measure_layer(layer)
        except DamagedLayerError as error:
            damaged[name] = str(error)
    # Relative to the largest, so that no square overflows.
    most = max((part.norm for part in measures.values()), default=0.0)
    total = sum((part.norm / most) ** 2 for part in measures.values()) if most else 0.0
    return Measures(
        norm=most * math.sqrt(total),
        blocks=_spectra({k: m for k, m in measures.items() if m.norm}, most, total),
        zero_layers=tuple(name for name, part in measures.items() if not part.norm),
        damaged=damaged,
    )


def measure_layer(layer: Factored) -> LayerMeasure:
    """Return the Frobenius norm and the effective rank of a layer's ΔW.

    The effective rank is the participation ratio (Σλ)² / Σλ² of ΔW's squared singular
    values λ [1], the exponential of their Rényi entropy of order 2: k equal directions
    count as k. Unlike the entropy of Shannon's kind [2], of which it is a lower bound, it
    needs traces only and no eigenvalues.

    - [1] Gao et al., 2017, https://doi.org/10.1101/214262
    - [2] Roy & Vetterli, 2007, https://ieeexplore.ieee.org/document/7098875

    Raises:
        DamagedLayerError: NaN, infinity, or a norm that float32 cannot hold.
    """
    down, up = layer.factors()
    down_gram, down_trace = _gram(down.flatten(1))
    up_gram, up_trace = _gram(up.flatten(1).T)
    if not math.isfinite(layer.scale):
        raise DamagedLayerError(f"has the scale {layer.scale}")
    # tr(ΔW ΔWᵀ) and tr((ΔW ΔWᵀ)²) of the factors divided by their norms.
    product = up_gram @ down_gram
    energy = product.trace().item()
    if layer.scale == 0 or energy <= 0:
        return LayerMeasure(0.0, 0.0)
    norm = math.sqrt(energy) * math.sqrt(down_trace) * math.sqrt(up_trace) * abs(layer.scale)
    if not norm <= LARGEST_NORM:
        raise DamagedLayerError("is too large to compute with")
    square = (product * product.T).sum().item()
    return LayerMeasure(norm, energy**2 / square)


def _gram(rows: Tensor) -> tuple[Tensor, float]:
    """Return the Gram matrix of rows (r, width), divided by its trace, and the trace.

    Both in float64, summed in float32 where that holds the squares.
    """
    rows = rows if rows.dtype == torch.float64 else rows.float()
    gram = rows @ rows.T
    trace = gram.trace().item()
    if not SMALLEST_TRACE <= trace <= LARGEST_TRACE:
        # NaN, infinity, overflow, underflow or zero: float64 tells them apart.
        largest = rows.abs().max().double().item()
        if not math.isfinite(largest):
            raise DamagedLayerError("holds NaN or infinity")
        if largest == 0:
            return gram.double(), 0.0
        rows = rows.double() / largest
        gram = rows @ rows.T
        trace = gram.trace().item()
        return gram / trace, trace * largest * largest
    return gram.double() / trace, trace


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
        own = sum(energies)
        # Norms far below the largest have squares that vanish; their block is still there.
        mean = (
            sum(e * r for e, r in zip(energies, ranks, strict=True)) / own
            if own
            else sum(ranks) / len(ranks)
        )
        spectra.append(BlockSpectrum(block, own / total, mean))
    return tuple(spectra)


def block_of(layer: str) -> str:
    """Return the block of a layer: "transformer_blocks.3.attn.to_q" -> "transformer_blocks.3"."""
    first, _, rest = layer.partition(".")
    number = rest.partition(".")[0]
    return f"{first}.{number}" if number.isdecimal() else first


def _block_order(block: str) -> tuple[str, bool, int]:
    """Blocks by number, FLUX's single ones after its double ones."""
    stem, _, number = block.partition(".")
    return stem.removeprefix("single_"), stem.startswith("single_"), int(number or -1)
