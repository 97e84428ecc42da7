"""Adapters on the device, which stay there between images, within a budget."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from cachetools import LRUCache
from torch import Tensor

from registry.measures import asked

if TYPE_CHECKING:
    from encoder.adapter.lora_file import LoraWeights

# Ranks are padded with zeros to multiples of this, so that adapters of nearly the same rank have
# tensors of the same shape: a compiled base swaps one for the other without being compiled anew.
RANK_STEP = 8


@dataclass(frozen=True)
class DeviceAdapter:
    """An adapter's linear layers on a device, their ranks padded.

    In the order in which files have their numbers: another takes ten times as long to make.
    """

    # Each layer has down (rank, d_in), up (d_out, rank), and the scale of their product.
    layers: dict[str, tuple[Tensor, Tensor, float]]

    @property
    def bytes(self) -> int:
        return sum(down.nbytes + up.nbytes for down, up, _ in self.layers.values())

    def is_scaled_as(self, weights: "LoraWeights") -> bool:
        own = self.layers
        return all(own[name][2] == layer.scale for name, layer in weights.layers.items())


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
            pad_rank(down.to(device, dtype), 0, rank),
            pad_rank(up.to(device, dtype), 1, rank),
            layer.scale,
        )
    return DeviceAdapter(layers)


def pad_rank(factor: Tensor, dim: int, rank: int) -> Tensor:
    """Fill a factor up with zeros until its `dim` is `rank` long."""
    missing = rank - factor.shape[dim]
    if not missing:
        return factor
    shape = list(factor.shape)
    shape[dim] = missing
    return torch.cat([factor, factor.new_zeros(shape)], dim)


class DeviceCache:
    """The adapters used last, by the hash of their files. Not locked: one image at a time."""

    def __init__(
        self,
        budget_bytes: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._device, self._dtype = device, dtype
        self._adapters: LRUCache[str, DeviceAdapter] = LRUCache(
            budget_bytes, getsizeof=lambda adapter: adapter.bytes
        )

    @property
    def bytes(self) -> int:
        return int(self._adapters.currsize)

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._adapters

    def __len__(self) -> int:
        return len(self._adapters)

    def get(self, sha256: str, weights: "LoraWeights") -> DeviceAdapter:
        """Return an adapter on the device, from `weights` if it is not there yet.

        Those used longest ago make room. One that is larger than the budget is not kept.
        """
        known = self._adapters.get(sha256)
        if known is not None and not known.is_scaled_as(weights):
            # Another listing of the file has brought the config that says how strong it is.
            known = None
        asked("adapters", hits=int(known is not None), misses=int(known is None))
        if known is None:
            known = load_onto(weights, self._device, self._dtype)
            if known.bytes <= self._adapters.maxsize:
                self._adapters[sha256] = known
        return known

    def clear(self) -> None:
        """Give back all of the memory."""
        self._adapters.clear()
