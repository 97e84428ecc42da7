"""Adapters that are harmless one by one, and made to do harm together, are told."""

import pytest
import torch

from encoder.adapter.layers import LoraLayer
from encoder.adapter.lora_file import LoraWeights
from registry.fusion.backends.pipeline import PipelineBackend
from registry.fusion.departure import MOST_DEPARTURE, warn_of_departure
from registry.fusion.generate import generate
from registry.fusion.options import Drawing, Mode
from tests.registry.fusion.builders import block_layers, make_adapter, make_weights

VALUE, OUT = "transformer_blocks.0.attn.to_v", "transformer_blocks.0.attn.to_out.0"


def with_layer(weights: LoraWeights, name: str, layer: LoraLayer) -> LoraWeights:
    weights.layers.clear()
    weights.layers[name] = layer
    return weights


def attackers(backend: PipelineBackend) -> list[LoraWeights]:
    """One writes loudly where the base hardly listens; the other listens exactly there.

    Alone, the first is not heard and the second hears nothing out of the ordinary.
    """
    out = backend.transformer.get_submodule(OUT)
    left, values, right = torch.linalg.svd(out.weight.float())
    deaf, loud = right[-1], left[:, 0]
    assert values[-1] < 0.05 * values[0]
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(1, len(deaf), generator=generator)
    empty = [make_weights(backend.transformer, [VALUE], seed=k) for k in range(2)]
    return [
        with_layer(empty[0], VALUE, LoraLayer(rows, 2 * deaf[:, None], 1.0)),
        with_layer(empty[1], OUT, LoraLayer(deaf[None], 2 * loud[:, None], 1.0)),
    ]


def test_a_co_loading_attack_is_told(backend: PipelineBackend) -> None:
    bad = [make_adapter(f"bad{k}", weights) for k, weights in enumerate(attackers(backend))]
    fused = generate("cat", bad, backend, None, Drawing(mode="sum", steps=3))
    assert fused.recipe.departure is not None
    assert fused.recipe.departure > MOST_DEPARTURE
    assert any("times as much as the strongest" in said for said in fused.recipe.warnings)


@pytest.mark.parametrize("mode", ["sum", "average"])
def test_honest_adapters_are_not_accused(backend: PipelineBackend, mode: Mode) -> None:
    """However many: each alone is measured at the share that it has in an average."""
    layers = block_layers(backend.transformer)
    honest = [
        make_adapter(f"a{k}", make_weights(backend.transformer, layers, seed=k, scale=0.02))
        for k in range(3)
    ]
    recipe = generate("cat", honest, backend, None, Drawing(mode=mode, steps=3)).recipe
    assert recipe.departure is not None
    # Unrelated changes add up like the sides of a right angle.
    assert 1 < recipe.departure < 2
    assert not any("times" in said for said in recipe.warnings)


def test_adapters_that_undo_each_other_are_told(backend: PipelineBackend) -> None:
    weights = make_weights(backend.transformer, block_layers(backend.transformer), seed=1)
    pair = [make_adapter("one", weights, 1.0), make_adapter("two", weights, -0.99)]
    recipe = generate("cat", pair, backend, None, Drawing(mode="sum", steps=3)).recipe
    assert any("undo one another" in said for said in recipe.warnings)


def test_one_adapter_is_not_measured_nor_is_one_who_asks_not_to(backend: PipelineBackend) -> None:
    weights = make_weights(backend.transformer, [VALUE], seed=1)
    one, two = make_adapter("one", weights), make_adapter("two", weights)
    assert (
        generate("cat", [one], backend, None, Drawing(mode="sum", steps=1)).recipe.departure is None
    )
    quick = generate("cat", [one, two], backend, None, Drawing(mode="sum", steps=1, check=False))
    assert quick.recipe.departure is None


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
def test_an_image_that_explodes_has_a_departure_too(backend: PipelineBackend) -> None:
    """A recipe is JSON and holds no infinity."""
    layers = block_layers(backend.transformer)
    weights = make_weights(backend.transformer, layers, seed=1)
    endless = make_weights(backend.transformer, layers, seed=1, scale=1e30)
    pair = [make_adapter("endless", endless), make_adapter("two", weights)]
    recipe = generate("cat", pair, backend, None, Drawing(mode="sum", steps=1)).recipe
    assert recipe.departure == 1e6
    assert warn_of_departure(recipe.departure)
