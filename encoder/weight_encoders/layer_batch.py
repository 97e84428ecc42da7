"""Adapters as stacked tensors, the same for whole factors and for sketches.

Layers of one kind ("transformer_blocks.*.attn.to_q") are stacked, so that a network computes
each kind in one multiplication. UNets have layers of one name in several widths: such a kind
is several, of one shape each.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from encoder.adapter.lora_file import LoraWeights
from encoder.base_models.families import Family, Shape
from encoder.errors import SketchError
from encoder.sketches.sketch import Sketch, delta_norm

BLOCK_INDEX = re.compile(r"\.\d+\.")
# UNets have blocks within blocks.
INNER_INDEX = re.compile(r"\b(attentions|resnets|transformer_blocks)\.\d+\.")


@dataclass(frozen=True, slots=True)
class LayerKind:
    """Layers that differ only in their block: a name, one shape, places in the family."""

    name: str
    shape: Shape
    places: tuple[int, ...]


def kinds_of(family: Family) -> tuple[LayerKind, ...]:
    """Group a family's block layers by kind; each has a name of its own."""
    places: dict[str, dict[Shape, list[int]]] = {}
    for place, (layer, shape) in enumerate(family.block_layers.items()):
        name = INNER_INDEX.sub(r"\1.", BLOCK_INDEX.sub(".", layer, count=1))
        places.setdefault(name, {}).setdefault(shape, []).append(place)
    return tuple(
        LayerKind(
            name if len(shapes) == 1 else f"{name} {shape[0]}x{shape[1]}", shape, tuple(where)
        )
        for name, shapes in places.items()
        for shape, where in shapes.items()
    )


@dataclass(frozen=True, slots=True)
class LayerBatch:
    """n adapters. ΔW of a layer is up · down · exp(log magnitude), of length 1 without it."""

    down: Mapping[str, Tensor]  # by kind: (n, layers of the kind, rank, d_in)
    up: Mapping[str, Tensor] | None  # by kind: (n, layers, d_out, rank); None: the identity
    log_magnitudes: Tensor  # (n, layers of the family)
    mask: Tensor  # (n, layers of the family), True where the adapter has the layer

    def __len__(self) -> int:
        return len(self.mask)

    def select(self, rows: Tensor) -> "LayerBatch":
        """Return the adapters at `rows`."""
        up = self.up and {kind: part[rows] for kind, part in self.up.items()}
        down = {kind: part[rows] for kind, part in self.down.items()}
        return LayerBatch(down, up, self.log_magnitudes[rows], self.mask[rows])

    def to(self, device: torch.device) -> "LayerBatch":
        """Return them on a device."""
        up = self.up and {kind: part.to(device) for kind, part in self.up.items()}
        down = {kind: part.to(device) for kind, part in self.down.items()}
        return LayerBatch(down, up, self.log_magnitudes.to(device), self.mask.to(device))


def stack_sketches(family: Family, sketches: Sequence[Sketch]) -> LayerBatch:
    """Stack sketches; a sketch is a small matrix and needs no second factor."""
    layers = [sketch.layers() for sketch in sketches]

    def stack(kind: LayerKind) -> Tensor:
        values = np.stack([[sketch[place] for place in kind.places] for sketch in layers])
        return torch.from_numpy(values).float()

    return LayerBatch(
        down={kind.name: stack(kind) for kind in kinds_of(family)},
        up=None,
        log_magnitudes=torch.from_numpy(np.stack([s.log_magnitudes for s in sketches])),
        mask=torch.from_numpy(np.stack([sketch.mask for sketch in sketches])),
    )


def stack_weights(family: Family, adapters: Sequence[LoraWeights]) -> LayerBatch:
    """Stack whole factors; smaller ranks are padded with zeros, which change nothing.

    Raises:
        SketchError: an adapter changes no block layer.
    """
    names = list(family.block_layers)
    rank = max(layer.rank for adapter in adapters for layer in adapter.layers.values())
    log_magnitudes = torch.zeros(len(adapters), len(names))
    mask = torch.zeros(len(adapters), len(names), dtype=torch.bool)
    down, up = {}, {}
    for kind in kinds_of(family):
        d_out, d_in = kind.shape
        down[kind.name] = torch.zeros(len(adapters), len(kind.places), rank, d_in)
        up[kind.name] = torch.zeros(len(adapters), len(kind.places), d_out, rank)
        for row, adapter in enumerate(adapters):
            for column, place in enumerate(kind.places):
                layer = adapter.layers.get(names[place])
                magnitude = delta_norm(layer) if layer else 0.0
                if layer is None or magnitude == 0:
                    continue
                scale = layer.scale / magnitude
                a, b = layer.factors()
                down[kind.name][row, column, : layer.rank] = a.float() * scale
                up[kind.name][row, column, :, : layer.rank] = b.float()
                log_magnitudes[row, place] = math.log(magnitude)
                mask[row, place] = True
    if not mask.any(dim=1).all():
        raise SketchError(f"an adapter changes no block layer of {family.name}")
    return LayerBatch(down, up, log_magnitudes, mask)
