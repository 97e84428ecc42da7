"""Small layers of equal shapes, measured together.

Hundreds of small layers cost more by their number than by their size: calls take longer than the
arithmetic in them. So plain products of equal shapes are laid one upon the other, and each
function works on them as on one.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from encoder.adapter.gram import LARGEST_TRACE, SMALLEST_TRACE
from encoder.adapter.layers import LoraLayer
from encoder.arrays import Bools, Doubles
from encoder.late_torch import Tensor, torch

# Larger layers gain nothing: 400 KB in float32.
MOST_ENTRIES = 100_000
# Of a batch, as memory is dear: 4 MB.
MOST_TOGETHER = 1_000_000


class Grams(NamedTuple):
    """Gram matrices (layers, rank, rank) divided by their traces, and these (layers,)."""

    matrices: Doubles
    traces: Doubles

    def take(self, places: Sequence[int]) -> "Grams":
        return Grams(self.matrices[places], self.traces[places])


@dataclass(frozen=True, eq=False)
class ProductBatch:
    """Plain LoRAs of equal shapes. Their factors are copies, in float32."""

    names: Sequence[str]
    layers: Sequence[LoraLayer]

    @cached_property
    def downs(self) -> Tensor:
        """(layers, rank, inputs)"""
        return torch.stack([layer.down.flatten(1) for layer in self.layers]).float()

    @cached_property
    def ups(self) -> Tensor:
        """(layers, rank, outputs)"""
        ups = torch.stack([layer.up.flatten(1) for layer in self.layers]).float()
        return ups.transpose(1, 2).contiguous()

    @cached_property
    def down_grams(self) -> Grams:
        return _grams(self.downs)

    @cached_property
    def up_grams(self) -> Grams:
        return _grams(self.ups)

    @cached_property
    def scales(self) -> Doubles:
        """(layers,)"""
        return np.array([layer.scale for layer in self.layers])

    def down_rows(self) -> tuple[Tensor, Tensor]:
        """Return the downs, and the norm of each (layers,)."""
        return self.downs, torch.from_numpy(np.sqrt(self.down_grams.traces))

    def up_rows(self) -> tuple[Tensor, Tensor]:
        """Return the ups, and the norm of each (layers,)."""
        return self.ups, torch.from_numpy(np.sqrt(self.up_grams.traces))

    def take(self, places: Sequence[int]) -> "ProductBatch":
        """Return some of the layers."""
        if len(places) == len(self.names):
            return self
        taken = ProductBatch(
            [self.names[place] for place in places], [self.layers[place] for place in places]
        )
        index = torch.tensor(places, dtype=torch.long)
        # Already laid together and measured here.
        taken.__dict__.update(
            downs=self.downs[index],
            ups=self.ups[index],
            down_grams=self.down_grams.take(places),
            up_grams=self.up_grams.take(places),
        )
        return taken


def batches(layers: Mapping[str, LoraLayer]) -> Iterator[ProductBatch]:
    """Yield small plain LoRAs in batches of equal shapes."""
    groups: dict[tuple[torch.Size, torch.Size, torch.dtype], list[str]] = {}
    for name, layer in layers.items():
        key = (layer.down.shape, layer.up.shape, layer.down.dtype)
        groups.setdefault(key, []).append(name)
    for (down, up, _), names in groups.items():
        step = max(1, MOST_TOGETHER // (math.prod(down) + math.prod(up)))
        for start in range(0, len(names), step):
            part = names[start : start + step]
            yield ProductBatch(part, [layers[name] for name in part])


def is_small(layer: object) -> bool:
    """Whether a layer is measured in a batch."""
    return (
        isinstance(layer, LoraLayer)
        and layer.mid is None
        and layer.down.numel() + layer.up.numel() <= MOST_ENTRIES
        and layer.down.dtype == layer.up.dtype != torch.float64
    )


def measure_batch(batch: ProductBatch) -> tuple[Doubles, Doubles, Bools]:
    """Return ||ΔW|| and the effective rank of each layer, and which of them these are true of.

    Where squares leave the range of float32, and where numbers are NaN, infinite or all zero,
    `layer_measure.measure_layer` knows more.
    """
    # What overflows is told by the traces.
    with np.errstate(all="ignore"):
        (down_grams, down_traces), (up_grams, up_traces) = batch.down_grams, batch.up_grams
        products = up_grams @ down_grams
        energies = products.trace(axis1=1, axis2=2)
        squares = (products * products.transpose(0, 2, 1)).sum((1, 2))
        norms = np.sqrt(energies) * np.sqrt(down_traces) * np.sqrt(up_traces) * abs(batch.scales)
        ranks = energies**2 / squares
    sound = np.isfinite(norms) & (energies > 0) & (squares > 0) & (batch.scales != 0)
    for traces in (down_traces, up_traces):
        sound &= (traces >= SMALLEST_TRACE) & (traces <= LARGEST_TRACE)
    return norms, ranks, sound & (norms <= LARGEST_TRACE) & (norms > 0)


def _grams(rows: Tensor) -> Grams:
    grams: Doubles = torch.bmm(rows, rows.transpose(1, 2)).double().numpy()
    traces: Doubles = grams.trace(axis1=1, axis2=2)
    return Grams(grams / traces[:, None, None], traces)
