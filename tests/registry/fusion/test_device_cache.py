"""Adapters on the device: kept within a budget, swapped without compiling the base anew."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor, nn

from demo.base import make_transformer, velocity
from encoder.adapter.layers import Layer, LoraLayer
from encoder.adapter.lora_file import LoraWeights
from registry.fusion.attach import attach
from registry.fusion.backends.pipeline import PipelineBackend
from registry.fusion.compiled import compile_base
from registry.fusion.device_cache import DeviceCache, load_onto
from registry.fusion.errors import CompiledBaseError
from registry.fusion.gates.autolora import AutoLoraGates
from registry.fusion.gates.interface import Gates, TrainableGates
from registry.fusion.gates.rivals import RivalGates
from registry.fusion.generate import generate
from registry.fusion.guidance import GuidedPasses
from registry.fusion.options import Drawing, Mode
from tests.registry.fusion.builders import BASE_MODEL, block_layers, make_adapter, make_weights


@pytest.fixture
def transformer() -> nn.Module:
    """The demo's with one block of each kind: every one takes time to compile."""
    torch.manual_seed(0)
    config = {**make_transformer().config, "num_layers": 1, "num_single_layers": 1}
    short: nn.Module = FluxTransformer2DModel.from_config(config)
    return short.eval().requires_grad_(False)


def draw_weights(base: nn.Module, seed: int, rank: int = 4) -> LoraWeights:
    return make_weights(base, block_layers(base), seed=seed, rank=rank, scale=0.2)


def test_the_adapters_used_last_stay_within_the_budget(transformer: nn.Module) -> None:
    weights = {name: draw_weights(transformer, ord(name)) for name in "abc"}
    size = load_onto(weights["a"]).bytes
    cache = DeviceCache(int(2.5 * size))
    first = cache.get("a", weights["a"])
    cache.get("b", weights["b"])
    assert cache.get("a", weights["a"]) is first
    cache.get("c", weights["c"])
    assert ("a" in cache, "b" in cache, "c" in cache) == (True, False, True)
    assert (len(cache), cache.bytes) == (2, 2 * size)
    assert DeviceCache(0).get("a", weights["a"]).layers.keys() == weights["a"].layers.keys()
    cache.clear()
    assert (len(cache), cache.bytes) == (0, 0)


def test_an_adapter_whose_scale_is_known_only_now_is_made_anew(transformer: nn.Module) -> None:
    """PEFT's config beside a file may come with another listing of it."""
    cache, weights = DeviceCache(10**9), draw_weights(transformer, 1)
    cache.get("a", weights)
    layers: dict[str, Layer] = {
        name: LoraLayer(*layer.factors(), 2 * layer.scale) for name, layer in weights.layers.items()
    }
    stronger = replace(weights, layers=layers)

    scales = {name: layer[2] for name, layer in cache.get("a", stronger).layers.items()}

    assert scales == {name: layer.scale for name, layer in layers.items()}


def test_images_are_the_same_from_the_cache(backend: PipelineBackend) -> None:
    weights = draw_weights(backend.transformer, 1)
    one = make_adapter("one", weights)
    backend.cache.clear()
    first = generate("cat", [one], backend, None, Drawing(mode="sum", steps=2))
    assert one.sha256 in backend.cache
    again = generate("cat", [one], backend, None, Drawing(mode="sum", steps=2))
    assert again.image.tobytes() == first.image.tobytes()


def test_ranks_are_padded_alike(transformer: nn.Module) -> None:
    """To multiples of 8, with zeros."""
    weights = draw_weights(transformer, 1, rank=5)
    for name, (down, up, scale) in load_onto(weights).layers.items():
        assert (len(down), up.shape[1]) == (8, 8)
        torch.testing.assert_close(scale * (up @ down), weights.layers[name].delta())


@pytest.fixture
def run(transformer: nn.Module) -> Callable[[], Tensor]:
    torch.manual_seed(1)
    noisy, tokens, pooled = torch.randn(2, 16, 64), torch.randn(2, 8, 512), torch.randn(2, 512)

    def forward() -> Tensor:
        with torch.no_grad():
            return velocity(transformer, noisy, (tokens, pooled), torch.tensor([0.2, 0.7]))

    return forward


@pytest.fixture
def graphs() -> list[Any]:
    """What is compiled in a test, once `compile_into` says so."""
    # After eight kinds of a function nothing more is compiled in a process, and no test would see.
    torch.compiler.reset()
    return []


def compile_into(graphs: list[Any], transformer: nn.Module) -> None:
    def count(graph: Any, _: object) -> Any:
        graphs.append(graph)
        return graph.forward

    compile_base(transformer, backend=count)


def test_resting_compiles_no_more_than_twice(
    transformer: nn.Module, run: Callable[[], Tensor], graphs: list[Any]
) -> None:
    """Once with adapters at work, once without, however many steps there are."""
    gates = RivalGates.for_transformer(transformer, BASE_MODEL).requires_grad_(False)
    weights = draw_weights(transformer, 3)
    plain = run()
    compile_into(graphs, transformer)
    with attach(transformer, [(weights, 0.1)], gates, passes=GuidedPasses("calls")):
        fused = [run(), run()]
        compiled = len(graphs)
        fused += [run() for _ in range(4)]
    assert len(graphs) == compiled > 0
    for once, resting in zip(fused[::2], fused[1::2], strict=True):
        torch.testing.assert_close(resting, plain)
        assert not torch.allclose(once, plain)


@pytest.mark.parametrize("kind", [AutoLoraGates, RivalGates, None])
def test_swapping_adapters_compiles_nothing_anew(
    transformer: nn.Module,
    run: Callable[[], Tensor],
    graphs: list[Any],
    kind: type[TrainableGates] | None,
) -> None:
    """Not even a large one, if its padded rank is the same; and detaching restores the base."""
    mode: Mode = "gated" if kind else "sum"
    gates: Gates | None = None
    if kind is not None:
        gates = kind.untrained(transformer, BASE_MODEL).requires_grad_(False)
    # 20 MB and more.
    large = [draw_weights(transformer, k, rank=rank) for k, rank in enumerate((777, 782))]
    assert all(load_onto(weights).bytes > 20e6 for weights in large)
    small = draw_weights(transformer, 3)
    expected = [run()]
    for weights in large:
        with attach(transformer, [(weights, 0.1), (small, 1.0)], gates, mode):
            expected.append(run())
    compile_into(graphs, transformer)
    torch.testing.assert_close(run(), expected[0])
    base_alone = len(graphs)
    for k, weights in enumerate(large):
        with attach(transformer, [(weights, 0.1), (small, 1.0)], gates, mode):
            torch.testing.assert_close(run(), expected[1 + k], rtol=1e-4, atol=1e-4)
        if k == 0:
            compiled = len(graphs)
    assert len(graphs) == compiled > base_alone > 0
    torch.testing.assert_close(run(), expected[0])
    assert len(graphs) == compiled


@pytest.mark.parametrize("by_blocks", [False, True])
def test_a_base_compiled_blind_to_adapters_is_refused(
    transformer: nn.Module, by_blocks: bool
) -> None:
    """It would run on without them, and nobody would know."""
    import torch._dynamo

    before = torch._dynamo.config.skip_nnmodule_hook_guards
    torch._dynamo.config.skip_nnmodule_hook_guards = True
    try:
        blind: Any = transformer
        if by_blocks:
            blind.compile_repeated_blocks(backend="eager")
        else:
            blind = torch.compile(transformer, backend="eager")
        with (
            pytest.raises(CompiledBaseError, match="compile_base"),
            attach(blind, [(draw_weights(transformer, 1), 1.0)], mode="sum"),
        ):
            pass
    finally:
        torch._dynamo.config.skip_nnmodule_hook_guards = before
