"""Adapters of one author that train side by side over one frozen base.

Their small products are batched matmuls, so gradients stay independent and the base runs once.
LoRA is kept as its factors; LoHa and LoKr [1] are formed to ΔW in every step, since the base
is small.

- [1] Yeh et al., 2023, https://arxiv.org/abs/2309.14859
"""

import math
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from demo.layers import block_layers, hooked
from demo.world.authors import Author

# LoKr's small factor is so many rows and columns.
KRONECKER = 4
# The slot whose start is zero, so that an adapter begins as no change.
ZERO_SLOT = {"lora": "lora_B.weight", "loha": "hada_w2_a", "lokr": "lokr_w2_a"}


def start_bound(slot: str, inputs: int) -> float:
    """Return the largest value that a slot starts with: PEFT's for LoRA's A, else LyCORIS'."""
    deviations = {"hada_w1_a": 0.1, "hada_w1_b": 1.0, "hada_w2_b": 1.0}
    return math.sqrt(3) * deviations[slot] if slot in deviations else 1 / math.sqrt(inputs)


class AdapterGroup:
    """`count` adapters of one author; sample b of a batch is of adapter b // (batch / count)."""

    def __init__(self, transformer: nn.Module, author: Author, count: int, seed: int) -> None:
        self.author, self.count = author, count
        self.layers = {
            name: layer for name, layer in block_layers(transformer).items() if author.trains(name)
        }
        generator = torch.Generator().manual_seed(seed)
        # Layer -> slot, as LyCORIS and PEFT name them -> (count, rows, columns).
        self.slots = {
            name: self._start(layer.out_features, layer.in_features, generator)
            for name, layer in self.layers.items()
        }

    def _start(self, d_out: int, d_in: int, generator: torch.Generator) -> dict[str, Tensor]:
        rank, small = self.author.rank, KRONECKER
        shapes = {
            "lora": {"lora_A.weight": (rank, d_in), "lora_B.weight": (d_out, rank)},
            "loha": {
                "hada_w1_a": (d_out, rank),
                "hada_w1_b": (rank, d_in),
                "hada_w2_a": (d_out, rank),
                "hada_w2_b": (rank, d_in),
            },
            "lokr": {
                "lokr_w1": (small, small),
                "lokr_w2_a": (d_out // small, rank),
                "lokr_w2_b": (rank, d_in // small),
            },
        }[self.author.algorithm]
        slots = {}
        for slot, shape in shapes.items():
            bound = start_bound(slot, shape[1])
            start = (torch.rand(self.count, *shape, generator=generator) * 2 - 1) * bound
            slots[slot] = start * (slot != ZERO_SLOT[self.author.algorithm])
        return {slot: start.requires_grad_(True) for slot, start in slots.items()}

    def parameters(self) -> list[Tensor]:
        return [part for slots in self.slots.values() for part in slots.values()]

    def change(self, name: str, inputs: Tensor) -> Tensor:
        """Return what the adapters add to a layer's outputs, for inputs (count, n, d_in)."""
        slots = self.slots[name]
        if self.author.algorithm == "lora":
            down, up = slots["lora_A.weight"], slots["lora_B.weight"]
            return torch.bmm(torch.bmm(inputs, down.mT), up.mT)
        return torch.bmm(inputs, self._delta(slots).mT)

    def _delta(self, slots: dict[str, Tensor]) -> Tensor:
        if self.author.algorithm == "loha":
            first = torch.bmm(slots["hada_w1_a"], slots["hada_w1_b"])
            return first * torch.bmm(slots["hada_w2_a"], slots["hada_w2_b"])
        large = torch.bmm(slots["lokr_w2_a"], slots["lokr_w2_b"])
        product = torch.einsum("gij,gkl->gikjl", slots["lokr_w1"], large)
        rows, columns = KRONECKER * large.shape[1], KRONECKER * large.shape[2]
        return product.reshape(self.count, rows, columns)

    def attached(self) -> AbstractContextManager[None]:
        """Add the adapters' outputs to the layers' while inside."""
        return hooked(self.layers, self._add)

    def _add(self, name: str, inputs: Tensor, output: Tensor) -> Tensor:
        grouped = inputs.reshape(self.count, -1, inputs.shape[-1])
        return output + self.change(name, grouped).reshape(output.shape)

    def state_dict(self, index: int) -> dict[str, Tensor]:
        """Return one adapter in float16 under diffusers' names, with its alpha.

        They were trained at scale 1, so what is stored is divided by the author's scale.
        """
        zero, scale = ZERO_SLOT[self.author.algorithm], self.author.scale
        state = {}
        for name, slots in self.slots.items():
            for slot, part in slots.items():
                own = part[index].detach() / (scale if slot == zero else 1.0)
                state[f"transformer.{name}.{slot}"] = own.half().contiguous()
            state[f"transformer.{name}.alpha"] = torch.tensor(self.author.alpha)
        return state
