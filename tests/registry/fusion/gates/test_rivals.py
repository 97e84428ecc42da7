"""Gates that see each other: against the formula one number at a time, and what it promises."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from demo.base import velocity
from encoder.adapter.lora_file import LoraWeights
from registry.fusion.attach import attach
from registry.fusion.errors import MissingGateError
from registry.fusion.gates.file import load_gates, save_gates
from registry.fusion.gates.rivals import ENOUGH, FLOOR, PACES, RivalGates, first_questions
from tests.registry.fusion.builders import BASE_MODEL, block_layers, make_weights

LAYER = "transformer_blocks.1.attn.to_q"
RELEVANCE = torch.tensor([0.4, 0.1, -0.2])
LEANINGS = torch.tensor([[0.3, -0.1], [-0.2, 0.4], [0.1, 0.0]])


@pytest.fixture
def gates(transformer: nn.Module) -> RivalGates:
    torch.manual_seed(3)
    questions = torch.randn(2, 6)
    gates = RivalGates.for_transformer(transformer, BASE_MODEL, questions).requires_grad_(False)
    for parameter, pace in gates.paces():
        parameter.add_(0.3 * pace * torch.randn(parameter.shape))
    return gates


def values_of(gates: RivalGates, kind: str) -> dict[str, Any]:
    place = gates._places[kind]
    return {name: getattr(gates, name)[place].tolist() for name in PACES}


@pytest.fixture
def adapters(transformer: nn.Module) -> list[LoraWeights]:
    """Three adapters of different ranks, of which the second lacks half of the layers."""
    layers = block_layers(transformer)
    return [
        make_weights(transformer, layers, seed=1, rank=2),
        make_weights(transformer, [n for n in layers if "attn" in n], seed=2, rank=5),
        make_weights(transformer, layers, seed=3, rank=1),
    ]


@pytest.fixture
def run(transformer: nn.Module) -> Callable[[], Tensor]:
    torch.manual_seed(1)
    noisy, tokens, pooled = torch.randn(3, 16, 64), torch.randn(3, 8, 512), torch.randn(3, 512)

    def forward() -> Tensor:
        with torch.no_grad():
            return velocity(transformer, noisy, (tokens, pooled), torch.tensor([0.1, 0.6, 0.9]))

    return forward


def slow_gate(
    values: dict[str, Any],
    relevance: list[float],
    leanings: list[list[float]],
    strengths: list[float],
    t: float,
    i: int,
) -> float:
    """The formula, for one adapter."""
    pull = values["bias"] + values["drift"] * (0.5 - t)

    def wanted(j: int) -> float:
        leaning = [
            lean + turn * (0.5 - t)
            for lean, turn in zip(values["lean"], values["turn"], strict=True)
        ]
        own = sum(a * b for a, b in zip(leaning, leanings[j], strict=True))
        return float(values["slope"] * min(relevance[j], ENOUGH) + own)

    def distance(j: int) -> float:
        return sum((a - b) ** 2 for a, b in zip(leanings[i], leanings[j], strict=True))

    rivals = sum(
        abs(strengths[j])
        * (FLOOR + math.exp(pull - values["apart"] * distance(j) + wanted(j) - wanted(i)))
        for j in range(len(relevance))
        if j != i
    )
    return 1 / (1 + rivals)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_gates_follow_the_formula(gates: RivalGates, count: int) -> None:
    relevance, strengths = RELEVANCE[:count], torch.tensor([1.0, 0.5, -2.0])[:count]
    leanings, time = LEANINGS[:count], torch.tensor([0.05, 0.7])
    values = values_of(gates, "transformer_blocks.*.attn.to_q")
    expected = [
        [
            slow_gate(values, relevance.tolist(), leanings.tolist(), strengths.tolist(), t, i)
            for i in range(count)
        ]
        for t in time.tolist()
    ]
    got = gates.openness(LAYER, relevance[None], leanings[None], strengths, time)
    torch.testing.assert_close(got, torch.tensor(expected))


def test_attached_adapters_are_weighed_by_layer_and_time(
    transformer: nn.Module,
    run: Callable[[], Tensor],
    adapters: list[LoraWeights],
    gates: RivalGates,
) -> None:
    """Against hooks that add every ΔW by itself; who lacks a layer is no rival there."""
    strengths, times = [1.0, 0.5, -0.7], [0.1, 0.6, 0.9]
    strong = list(zip(adapters, strengths, strict=True))
    with attach(transformer, strong, gates, relevance=RELEVANCE, leanings=LEANINGS):
        fused = run()
    for layer in block_layers(transformer):
        there = [k for k in range(3) if layer in adapters[k].layers]
        values = values_of(gates, type_of(layer))

        def add(
            _: nn.Module,
            inputs: tuple[Tensor],
            base: Tensor,
            layer: str = layer,
            there: list[int] = there,
            values: dict[str, Any] = values,
        ) -> Tensor:
            total = base.clone()
            told = (
                [RELEVANCE[k].item() for k in there],
                [LEANINGS[k].tolist() for k in there],
                [strengths[k] for k in there],
            )
            for b, t in enumerate(times):
                for place, k in enumerate(there):
                    delta = adapters[k].layers[layer].delta() * strengths[k]
                    total[b] += slow_gate(values, *told, t, place) * (inputs[0][b] @ delta.T)
            return total

        transformer.get_submodule(layer).register_forward_hook(add)
    torch.testing.assert_close(fused, run(), rtol=1e-4, atol=1e-4)


def type_of(layer: str) -> str:
    first, _, rest = layer.split(".", 2)
    return f"{first}.*.{rest}"


def test_a_lone_adapter_is_used_whole(
    transformer: nn.Module,
    run: Callable[[], Tensor],
    adapters: list[LoraWeights],
    gates: RivalGates,
) -> None:
    """To the bit, however little the prompt is about it; and one turned off is not there."""
    with attach(transformer, [(adapters[0], 0.8)], mode="sum"):
        alone = run()
    with attach(transformer, [(adapters[0], 0.8)], gates, relevance=-RELEVANCE[:1]):
        assert torch.equal(run(), alone)
    beside = [(adapters[1], 0.0), (adapters[0], 0.8)]
    with attach(transformer, beside, gates, relevance=RELEVANCE[:2]):
        assert torch.equal(run(), alone)


def test_turning_a_rival_down_comes_near_to_leaving_it_out(
    transformer: nn.Module,
    run: Callable[[], Tensor],
    adapters: list[LoraWeights],
    gates: RivalGates,
) -> None:
    with attach(transformer, [(adapters[0], 1.0)], gates):
        alone = run()
    with attach(transformer, [(adapters[0], 1.0), (adapters[2], 1e-5)], gates):
        torch.testing.assert_close(run(), alone, rtol=1e-3, atol=1e-3)


def test_what_is_unknown_counts_as_the_mean_of_the_known(gates: RivalGates) -> None:
    strengths, time = torch.ones(3), torch.tensor([0.4])

    def openness(*told: float) -> Tensor:
        relevance = torch.tensor([told])
        leanings = torch.stack([relevance, -relevance], 2)
        return gates.openness(LAYER, relevance, leanings, strengths, time)

    torch.testing.assert_close(openness(0.12, math.nan, 0.04), openness(0.12, 0.08, 0.04))
    assert torch.equal(openness(*[math.nan] * 3), openness(0.0, 0.0, 0.0))


def test_a_prompt_that_is_about_both_favours_neither(gates: RivalGates) -> None:
    """Styles come nearer to their names than things do, which says nothing of the image."""
    strengths, time, leanings = torch.ones(2), torch.tensor([0.5]), torch.zeros(1, 2, 2)
    both = gates.openness(LAYER, torch.tensor([[0.31, 0.7]]), leanings, strengths, time)
    one = gates.openness(LAYER, torch.tensor([[0.31, 0.0]]), leanings, strengths, time)
    assert both[0, 0] == both[0, 1]
    assert one[0, 0] != one[0, 1]


def test_adapters_of_different_kinds_take_less_from_each_other(transformer: nn.Module) -> None:
    """A thing and a style can both be had; two things share."""
    gates = RivalGates.for_transformer(transformer, BASE_MODEL, torch.eye(2)).requires_grad_(False)
    gates.apart.fill_(1.0)
    told = (torch.zeros(1, 2), torch.ones(2), torch.tensor([0.5]))
    alike = gates.openness(LAYER, told[0], torch.tensor([[[1.0, 0.0], [1.0, 0.0]]]), *told[1:])
    unlike = gates.openness(LAYER, told[0], torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), *told[1:])
    torch.testing.assert_close(alike, torch.full((1, 2), 1 / (2 + FLOOR)))
    assert (unlike > 0.8).all()


def test_first_questions_tell_kinds_apart() -> None:
    """Two clusters of embeddings, whatever else they differ in."""
    generator = torch.Generator().manual_seed(0)
    kinds = torch.zeros(40, 16)
    kinds[:20, 3], kinds[20:, 5] = 1.0, 1.0
    embeddings = kinds + 0.1 * torch.randn(40, 16, generator=generator)
    answers = embeddings @ first_questions(embeddings)[0]
    assert answers[:20].max() < answers[20:].min() or answers[:20].min() > answers[20:].max()


def test_who_the_prompt_is_about_prevails(
    transformer: nn.Module,
    run: Callable[[], Tensor],
    adapters: list[LoraWeights],
) -> None:
    gates = RivalGates.for_transformer(transformer, BASE_MODEL).requires_grad_(False)
    strong = [(adapter, 1.0) for adapter in adapters]
    with attach(transformer, strong, gates, relevance=RELEVANCE, watch=True) as attachment:
        run()
    activity = [attachment.activity(k) for k in range(3)]
    assert [len(layers) for layers in activity] == [len(a.layers) for a in adapters]
    assert activity[0][LAYER] > activity[1][LAYER] > activity[2][LAYER]


def test_nothing_of_the_gates_stays(
    transformer: nn.Module, adapters: list[LoraWeights], gates: RivalGates
) -> None:
    with attach(transformer, [(adapter, 1.0) for adapter in adapters], gates):
        assert transformer._forward_pre_hooks
    assert not transformer._forward_pre_hooks
    assert not any(part._forward_hooks for part in transformer.modules())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gated_layer_compiles_whole(gates: RivalGates, dtype: torch.dtype) -> None:
    """Without a break in the graph, in both precisions."""

    layer = "transformer_blocks.0.proj"

    class Denoiser(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.transformer_blocks = nn.ModuleList(
                [nn.ModuleDict({"proj": nn.Linear(8, 12, dtype=dtype)})]
            )

        def forward(self, x: Tensor, timestep: Tensor) -> Tensor:
            out: Tensor = self.get_submodule(layer)(x)
            return out

    denoiser = Denoiser().requires_grad_(False)
    own = RivalGates(["transformer_blocks.*.proj"], BASE_MODEL).requires_grad_(False)
    pair = [make_weights(denoiser, [layer], seed=seed, rank=2) for seed in (1, 2)]
    x, time = torch.randn(2, 5, 8, dtype=dtype), torch.tensor([0.3, 0.3])
    with attach(denoiser, [(one, 1.0) for one in pair], own, relevance=RELEVANCE[:2]):
        plain = denoiser(x, timestep=time)
        compiled = torch.compile(denoiser.get_submodule(layer), backend="eager", fullgraph=True)
        assert plain.dtype == dtype
        torch.testing.assert_close(compiled(x), plain)


def test_gates_serve_deeper_bases_and_no_other_layers(gates: RivalGates) -> None:
    assert gates.covers("transformer_blocks.40.attn.to_q")
    assert not gates.covers("proj_out")


def test_layers_without_a_gate_are_refused(
    transformer: nn.Module, adapters: list[LoraWeights]
) -> None:
    few = RivalGates(["transformer_blocks.*.attn.to_q"], BASE_MODEL)
    with (
        pytest.raises(MissingGateError, match="transformer_blocks"),
        attach(transformer, [(adapters[0], 1.0)], few),
    ):
        pass


def test_gates_come_back_from_their_file(
    transformer: nn.Module, gates: RivalGates, tmp_path: Path
) -> None:
    path = tmp_path / "gates.safetensors"
    gates.details = {"steps": 7, "数据": "动物"}
    gates.enough, gates.floor = torch.tensor(0.25), torch.tensor(0.5)
    save_gates(gates, path)
    loaded = load_gates(path, BASE_MODEL)
    assert isinstance(loaded, RivalGates)
    assert (loaded.enough, loaded.floor) == (gates.enough, gates.floor)
    for (mine, _), (theirs, _) in zip(gates.paces(), loaded.paces(), strict=True):
        assert torch.equal(mine, theirs)
        assert not theirs.requires_grad
    assert (loaded.details, loaded.base_model) == (gates.details, BASE_MODEL)
    assert loaded.sha256 == gates.sha256
