"""Adapters on the device, and several of them side by side for one linear layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from registry.fusion.errors import LayerMismatchError

if TYPE_CHECKING:
    from encoder.adapter.lora_file import LoraWeights

# Ranks are padded with zeros to multiples of this, so that adapters of nearly the same rank have
# tensors of the same shape: a compiled base swaps one for the other without being compiled anew.
RANK_STEP = 8


@dataclass(frozen=True)
class LayerStack:
    """The adapters of one linear layer, ranks padded to the largest, for G groups of n.

    Sample b of a batch of B belongs to group b // (B / G).
    """

    down: Tensor  # (G, d_in, n * rank)
    up: Tensor  # (G, n, rank, d_out), scale and strength applied
    columns: tuple[int, ...]  # which of the attached adapters the n are

    def hidden(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return x (..., d_in) times down, (G, places, n * rank), and up, both as x is.

        They move only where the base is offloaded or runs in another precision.
        """
        groups = len(self.up)
        if len(x) % groups:
            raise LayerMismatchError(f"a batch of {len(x)} does not divide into {groups} groups")
        return x.reshape(groups, -1, x.shape[-1]) @ self.down.to(x), self.up.to(x)

    def outputs(self, x: Tensor) -> Tensor:
        """Return what each adapter says to x (..., d_in), apart: (n, ..., d_out)."""
        hidden, up = self.hidden(x)
        _, count, rank, d_out = up.shape
        apart = hidden.unflatten(-1, (count, rank)).permute(2, 0, 1, 3)  # (n, G, places, rank)
        outputs: Tensor = apart @ up.transpose(0, 1)
        return outputs.reshape(count, *x.shape[:-1], d_out)

    def add_to(self, base: Tensor, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return base (B, ..., d_out) plus what all adapters say to x (B, ..., d_in).

        Each one times its `weights` (B or 1, n), where they are given.
        """
        hidden, up = self.hidden(x)
        if weights is not None:
            by_adapter = hidden.reshape(len(x), -1, *up.shape[1:3])  # (B, places, n, rank)
            hidden = (by_adapter * weights[:, None, :, None]).view_as(hidden)
        # One operation on what is as large as the output, and not two.
        grouped = base.reshape(len(up), -1, base.shape[-1])
        return torch.baddbmm(grouped, hidden, up.flatten(1, 2)).reshape(base.shape)


@dataclass(frozen=True)
class DeviceAdapter:
    """An adapter's linear layers on a device, their ranks padded.

    In the order in which files have their numbers: another takes ten times as long to make.
    """

    # By layer: down (rank, d_in), up (d_out, rank), and the scale of their product.
    layers: dict[str, tuple[Tensor, Tensor, float]]

    @property
    def bytes(self) -> int:
        return sum(down.nbytes + up.nbytes for down, up, _ in self.layers.values())


def load_onto(
    weights: "LoraWeights",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> DeviceAdapter:
    """Bring an adapter to a device.

    Where the device is the CPU and the file is in `dtype`, its tensors stay views of the file.
    """
    layers = {}
    for name, layer in weights.layers.items():
        down, up = layer.factors()
        rank = -len(down) % RANK_STEP + len(down)
        layers[name] = (
            _pad(down.to(device, dtype), 0, rank),
            _pad(up.to(device, dtype), 1, rank),
            layer.scale,
        )
    return DeviceAdapter(layers)


def stack_adapters(
    adapters: Sequence[DeviceAdapter], strengths: Sequence[float]
) -> dict[str, LayerStack]:
    """Put adapters, each with a strength, side by side, as one group, by layer.

    An adapter that lacks a layer has no column there and costs nothing.

    Raises:
        LayerMismatchError: they disagree on the size of a layer.
    """
    names = {name: None for adapter in adapters for name in adapter.layers}
    return {name: _stack_layer(name, adapters, strengths) for name in names}


def _stack_layer(
    name: str, adapters: Sequence[DeviceAdapter], strengths: Sequence[float]
) -> LayerStack:
    columns = tuple(k for k, adapter in enumerate(adapters) if name in adapter.layers)
    downs, ups, scales = zip(*(adapters[k].layers[name] for k in columns), strict=True)
    sizes = {(len(up), down.shape[1]) for down, up in zip(downs, ups, strict=True)}
    if len(sizes) > 1:
        raise LayerMismatchError(
            f"adapters disagree on layer {name!r}: {' and '.join(map(str, sorted(sizes)))}; "
            "load those of one base model only"
        )
    rank = max(len(down) for down in downs)
    down = torch.cat([_pad(down, 0, rank) for down in downs])  # (n * rank, d_in)
    up = torch.cat([_pad(up, 1, rank) for up in ups], 1)  # (d_out, n * rank)
    factors = [strengths[k] * scale for k, scale in zip(columns, scales, strict=True)]
    by_adapter = up.unflatten(1, (len(ups), rank)).mul_(
        torch.tensor(factors)[:, None].to(up.device)
    )
    return LayerStack(down.T[None], by_adapter.permute(1, 2, 0)[None], columns)


def _pad(part: Tensor, dim: int, rank: int) -> Tensor:
    missing = rank - part.shape[dim]
    if not missing:
        return part
    shape = list(part.shape)
    shape[dim] = missing
    return torch.cat([part, part.new_zeros(shape)], dim)
