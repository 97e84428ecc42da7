"""Many adapters side by side, from which sets are picked to run together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from registry.fusion.errors import LayerMismatchError
from registry.fusion.fused_layers import LayerStack

if TYPE_CHECKING:
    from encoder.adapter.lora_file import LoraWeights


@dataclass(frozen=True)
class BankedLayer:
    """One linear layer of all adapters of a bank, ranks padded to the largest."""

    down: Tensor  # (N, rank, d_in)
    up: Tensor  # (N, rank, d_out)
    scale: Tensor  # (N,)
    present: Tensor  # (N,) bool: the adapter has this layer


class AdapterBank:
    """Holds adapters in memory, layer by layer."""

    def __init__(
        self, adapters: Sequence["LoraWeights"], dtype: torch.dtype = torch.float32
    ) -> None:
        """Hold adapters in `dtype`; those who lack a layer get zeros there."""
        self._count = len(adapters)
        names = {name: None for weights in adapters for name in weights.layers}
        self._layers = {name: bank_layer(name, adapters, dtype) for name in names}

    def __len__(self) -> int:
        return self._count

    def pick(self, sets: Tensor, strengths: Tensor | None = None) -> dict[str, LayerStack]:
        """Stack adapters `sets` (G, n), by index, times `strengths` (G, n), by layer.

        Layers that none of a set has are left out, and so are adapters without the layer
        where all groups agree on that: they cost nothing there.
        """
        strengths = torch.ones(sets.shape) if strengths is None else strengths
        stacks = {}
        for name, bank in self._layers.items():
            columns = bank.present[sets].any(0).nonzero()[:, 0]
            if not len(columns):
                continue
            chosen = sets[:, columns]  # (G, n)
            factor = bank.scale[chosen] * strengths[:, columns]
            down = bank.down[chosen].float()  # (G, n, rank, d_in)
            stacks[name] = LayerStack(
                down=down.flatten(1, 2).transpose(1, 2),
                up=bank.up[chosen].float() * factor[..., None, None],
                columns=tuple(columns.tolist()),
            )
        return stacks


def bank_layer(name: str, adapters: Sequence["LoraWeights"], dtype: torch.dtype) -> BankedLayer:
    layers = {i: a.layers[name] for i, a in enumerate(adapters) if name in a.layers}
    factors = {index: layer.factors() for index, layer in layers.items()}
    rank = max(len(down) for down, _ in factors.values())
    first_down, first_up = next(iter(factors.values()))
    bank = BankedLayer(
        down=torch.zeros(len(adapters), rank, first_down.shape[1], dtype=dtype),
        up=torch.zeros(len(adapters), rank, len(first_up), dtype=dtype),
        scale=torch.zeros(len(adapters)),
        present=torch.zeros(len(adapters), dtype=torch.bool),
    )
    for index, (down, up) in factors.items():
        rank, d_in = down.shape
        if (d_in, len(up)) != (bank.down.shape[2], bank.up.shape[2]):
            raise LayerMismatchError(
                f"adapters disagree on layer {name!r}: ({len(up)}, {d_in}) and "
                f"({bank.up.shape[2]}, {bank.down.shape[2]}); load those of one base model only"
            )
        bank.down[index, :rank] = down
        bank.up[index, :rank] = up.T
        bank.scale[index] = layers[index].scale
        bank.present[index] = True
    return bank
