"""Adapters that stay on the device between images, within a budget."""

from collections import OrderedDict
from typing import TYPE_CHECKING

import torch

from registry.fusion.fused_layers import DeviceAdapter, load_onto

if TYPE_CHECKING:
    from encoder.adapter.lora_file import LoraWeights


class DeviceCache:
    """The adapters used last, by the hash of their files. Not locked: one image at a time."""

    def __init__(
        self,
        budget_bytes: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._budget = budget_bytes
        self._device, self._dtype = device, dtype
        self._adapters: OrderedDict[str, DeviceAdapter] = OrderedDict()
        self.bytes = 0

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._adapters

    def __len__(self) -> int:
        return len(self._adapters)

    def get(self, sha256: str, weights: "LoraWeights") -> DeviceAdapter:
        """Return an adapter on the device, from `weights` if it is not there yet.

        Those used longest ago make room. One that is larger than the budget is not kept.
        """
        known = self._adapters.pop(sha256, None)
        if known is None:
            known = load_onto(weights, self._device, self._dtype)
            self.bytes += known.bytes
        self._adapters[sha256] = known
        while self.bytes > self._budget:
            _, oldest = self._adapters.popitem(last=False)
            self.bytes -= oldest.bytes
        return known

    def clear(self) -> None:
        """Give back all of the memory."""
        self._adapters.clear()
        self.bytes = 0
