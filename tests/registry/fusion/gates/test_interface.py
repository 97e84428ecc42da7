"""A kind of gates that nothing else has heard of is run, recorded and cited like any other."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Self

import pytest
import torch
from torch import Tensor, nn

from demo.base import velocity
from registry.fusion.attach import attach
from registry.fusion.backends.pipeline import PipelineBackend
from registry.fusion.errors import MissingGateError
from registry.fusion.fused_layers import LayerStack
from registry.fusion.gates.interface import FusedSet, Gates
from registry.fusion.generate import generate
from registry.fusion.options import Drawing
from tests.registry.fusion.builders import BASE_MODEL, block_layers, make_adapter, make_weights


class HalfGates(Gates):
    """Let half of every adapter through, in attention only."""

    kind = "half"

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], base_model: str) -> Self:
        return cls(base_model)

    def covers(self, layer: str) -> bool:
        return ".attn." in layer

    def fuse(self, adapters: FusedSet) -> AbstractContextManager[None]:
        return adapters.hook(
            {
                layer: partial(add_half, stack, adapters.watch(layer))
                for layer, stack in adapters.stacks.items()
            }
        )


def add_half(stack: LayerStack, watched: list[Tensor] | None, x: Tensor, base: Tensor) -> Tensor:
    half = torch.full((1, len(stack.columns)), 0.5)
    if watched is not None:
        watched.append(half[0])
    return stack.add_to(base, x, half)


def attention(base: nn.Module) -> list[str]:
    return [layer for layer in block_layers(base) if ".attn." in layer]


@torch.no_grad()
def test_its_layers_are_fused_as_it_says(transformer: nn.Module) -> None:
    torch.manual_seed(1)
    text = torch.randn(2, 8, 512), torch.randn(2, 512)
    noisy, time = torch.randn(2, 16, 64), torch.tensor([0.2, 0.8])
    weights = [make_weights(transformer, attention(transformer), seed=k) for k in range(2)]
    gates = HalfGates(BASE_MODEL)
    with attach(transformer, [(one, 1.0) for one in weights], gates, watch=True) as attachment:
        gated = velocity(transformer, noisy, text, time)
    with attach(transformer, [(one, 0.5) for one in weights], mode="sum"):
        torch.testing.assert_close(velocity(transformer, noisy, text, time), gated)
    assert attachment.activity(1) == dict.fromkeys(attention(transformer), 0.5)


def test_what_it_does_not_cover_is_refused(transformer: nn.Module) -> None:
    weights = make_weights(transformer, block_layers(transformer), seed=1)
    with (
        pytest.raises(MissingGateError, match="transformer_blocks"),
        attach(transformer, [(weights, 1.0)], HalfGates(BASE_MODEL)),
    ):
        pass
    assert not any(part._forward_hooks for part in transformer.modules())


def test_its_images_cite_it(backend: PipelineBackend) -> None:
    base = backend.transformer
    adapter = make_adapter("halved", make_weights(base, attention(base), seed=1))
    fused = generate("cat", [adapter], backend, HalfGates(BASE_MODEL), Drawing(steps=1))
    assert fused.recipe.gates_kind == "half"
    assert fused.recipe.adapters[0].leanings == ()
    assert set(fused.activity[adapter.sha256].values()) == {0.5}
