"""What a tiny network answers with an adapter attached as read, and with its ΔW added."""

import copy
from typing import Any

import torch
from torch import Tensor

from encoder.adapter.lora_file import LoraWeights
from registry.fusion.attach import attach
from tests.encoder.dialects.networks import Changes, network_of


@torch.no_grad()
def largest_difference(weights: LoraWeights, changes: Changes, architecture: str) -> float:
    """Compare diffusers' network in both ways, and say that the adapter does something."""
    # In float64, so that the difference is that of the adapters, not of the order of sums.
    network = copy.deepcopy(network_of(architecture)).double()
    if weights.verdict.fusable:
        with attach(network, [(weights, 1.0)], mode="sum"):
            attached = run(network)
    else:
        attached = run(_merge(network, weights))
    merged = copy.deepcopy(network)
    for name, change in changes.items():
        merged.get_parameter(name).add_(change)
    expected = run(merged)
    assert (expected - run(network)).abs().max() > 1e-2, "the adapter does nothing"
    return float((attached - expected).abs().max())


def run(network: Any) -> Tensor:
    generator = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    if "UNet" in type(network).__name__:
        width = network.config.cross_attention_dim
        added = {"text_embeds": draw(1, 32), "time_ids": draw(1, 6)}
        (picture,) = network(
            draw(1, 4, 8, 8), 500, draw(1, 5, width), added_cond_kwargs=added, return_dict=False
        )
        return picture  # type: ignore[no-any-return]
    (output,) = network(
        hidden_states=draw(1, 6, 4),
        encoder_hidden_states=draw(1, 5, 24),
        pooled_projections=draw(1, 20),
        timestep=torch.tensor([0.5], dtype=torch.float64),
        img_ids=torch.zeros(6, 3),
        txt_ids=torch.zeros(5, 3),
        return_dict=False,
    )
    return output  # type: ignore[no-any-return]


def _merge(network: Any, weights: LoraWeights) -> Any:
    """Add what was read to the weights: for kinds that gates cannot work on."""
    merged = copy.deepcopy(network)
    for name, layer in weights.layers.items():
        weight = merged.get_submodule(name).weight
        weight.add_(layer.delta(weight))
    for name, vector in weights.vectors.items():
        merged.get_parameter(name).add_(vector)
    return merged
