"""Adapters inside a transformer: what they add, and that nothing of them stays."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from demo.base import velocity
from encoder.adapter.layers import LoraLayer
from encoder.adapter.lora_file import LoraWeights, read
from registry.fusion.attach import attach, attach_stacks
from registry.fusion.errors import AlreadyAttachedError, LayerMismatchError, MissingGateError
from registry.fusion.gates.autolora import AutoLoraGates
from registry.fusion.options import Mode
from registry.fusion.training.adapter_bank import AdapterBank
from tests.registry.fusion.builders import BASE_MODEL, block_layers, make_weights

BATCH = 6


@pytest.fixture
def run(transformer: nn.Module) -> Callable[[], Tensor]:
    """Run the transformer on a fixed random batch."""
    torch.manual_seed(1)
    noisy, tokens, pooled = torch.randn(6, 16, 64), torch.randn(6, 8, 512), torch.randn(6, 512)
    time = torch.linspace(0.1, 0.9, BATCH)

    def forward() -> Tensor:
        with torch.no_grad():
            return velocity(transformer, noisy, (tokens, pooled), time)

    return forward


@pytest.fixture
def adapters(transformer: nn.Module) -> list[LoraWeights]:
    """Three adapters of different ranks, scales and layers."""
    layers = block_layers(transformer)
    return [
        make_weights(transformer, layers, seed=1, rank=2),
        make_weights(transformer, [n for n in layers if "attn" in n], seed=2, rank=5, scale=2.0),
        make_weights(transformer, [n for n in layers if "norm" not in n], seed=3, rank=1),
    ]


@pytest.fixture
def gates(transformer: nn.Module) -> AutoLoraGates:
    torch.manual_seed(2)
    return AutoLoraGates.for_transformer(transformer, BASE_MODEL, "paper").requires_grad_(False)


def hooks(transformer: nn.Module) -> int:
    return sum(len(part._forward_hooks) for part in transformer.modules())


def slow_attach(
    transformer: nn.Module,
    adapters: Sequence[tuple[LoraWeights, float]],
    gates: AutoLoraGates,
) -> None:
    """Gate every layer by one adapter after the other, forming each ΔW."""
    for layer in block_layers(transformer):
        linear = transformer.get_submodule(layer)
        assert isinstance(linear, nn.Linear)
        deltas = [a.layers[layer].delta() * s for a, s in adapters if layer in a.layers]
        gate = gates[layer]

        def gated(
            _: nn.Module,
            inputs: tuple[Tensor],
            base: Tensor,
            deltas: list[Tensor] = deltas,
            gate: nn.Module = gate,
        ) -> Tensor:
            fused = base
            for delta in deltas:
                fused = fused + gate(base, (inputs[0] @ delta.T)[None]) - base
            return fused

        linear.register_forward_hook(gated)


def test_gated_adapters_follow_a_slow_version(
    transformer: nn.Module,
    run: Callable[[], Tensor],
    adapters: list[LoraWeights],
    gates: AutoLoraGates,
) -> None:
    strong = list(zip(adapters, [1.0, 0.5, -0.7], strict=True))
    with attach(transformer, strong, gates):
        fused = run()
    slow_attach(transformer, strong, gates)
    torch.testing.assert_close(fused, run(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("mode", "share"), [("sum", 1.0), ("average", 1 / 3)])
def test_sum_and_average_equal_adding_to_the_weights(
    transformer: nn.Module,
    run: Callable[[], Tensor],
    adapters: list[LoraWeights],
    mode: Mode,
    share: float,
) -> None:
    strengths = [1.0, 0.5, 0.7]
    with attach(transformer, list(zip(adapters, strengths, strict=True)), mode=mode):
        attached = run()
    for weights, strength in zip(adapters, strengths, strict=True):
        for layer, change in weights.layers.items():
            linear = transformer.get_submodule(layer)
            assert isinstance(linear, nn.Linear)
            linear.weight.add_(change.delta() * strength * share)
    torch.testing.assert_close(attached, run(), rtol=1e-5, atol=1e-5)


# PEFT says so of every second adapter.
@pytest.mark.filterwarnings("ignore:Already found a `peft_config`")
def test_sum_equals_peft(
    transformer: Any,
    run: Callable[[], Tensor],
    adapters: list[LoraWeights],
    tmp_path: Path,
) -> None:
    """The same files through diffusers' own loader give the same output."""
    tensors = [
        {
            f"transformer.{layer}.lora_{side}.weight": tensor.clone()
            for layer, part in weights.layers.items()
            for side, tensor in zip(
                "AB", (part.factors()[0], part.scale * part.factors()[1]), strict=True
            )
        }
        for weights in adapters[::2]
    ]
    for k, content in enumerate(tensors):
        save_file(content, tmp_path / f"{k}.safetensors")
    read_back = [read(tmp_path / f"{k}.safetensors") for k in range(2)]
    with attach(transformer, list(zip(read_back, [1.0, 0.5], strict=True)), mode="sum"):
        attached = run()

    for k, content in enumerate(tensors):
        transformer.load_lora_adapter(content, prefix="transformer", adapter_name=f"a{k}")
    transformer.set_adapters(["a0", "a1"], [1.0, 0.5])
    torch.testing.assert_close(attached, run(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["gated", "sum"])
def test_groups_equal_running_each_set_alone(
    transformer: nn.Module,
    run: Callable[[], Tensor],
    adapters: list[LoraWeights],
    gates: AutoLoraGates,
    mode: Mode,
) -> None:
    """Sample b belongs to set b // 2; the sets lack different layers."""
    sets = [[0, 1], [1, 2], [2, 0]]
    bank = AdapterBank(adapters)
    with attach_stacks(
        transformer, bank.pick(torch.tensor(sets)), gates if mode == "gated" else None
    ):
        grouped = run()
    for g, chosen in enumerate(sets):
        with attach(transformer, [(adapters[i], 1.0) for i in chosen], gates, mode):
            alone = run()
        rows = slice(2 * g, 2 * g + 2)
        torch.testing.assert_close(grouped[rows], alone[rows], rtol=1e-4, atol=1e-5)


def test_strength_zero_equals_not_loaded(
    transformer: nn.Module,
    run: Callable[[], Tensor],
    adapters: list[LoraWeights],
    gates: AutoLoraGates,
) -> None:
    modes: list[Mode] = ["gated", "sum", "average"]
    for mode in modes:
        with attach(transformer, [(adapters[0], 1.0), (adapters[1], 0.0)], gates, mode):
            silenced = run()
        with attach(transformer, [(adapters[0], 1.0)], gates, mode):
            assert torch.equal(silenced, run())


def test_no_adapters_and_mode_base_are_the_base(
    transformer: nn.Module, run: Callable[[], Tensor], adapters: list[LoraWeights]
) -> None:
    plain = run()
    with attach(transformer, []):
        assert torch.equal(run(), plain)
    with attach(transformer, [(adapters[0], 1.0)], mode="base"):
        assert torch.equal(run(), plain)


def test_detaching_restores_the_base_exactly(
    transformer: nn.Module,
    run: Callable[[], Tensor],
    adapters: list[LoraWeights],
    gates: AutoLoraGates,
) -> None:
    """Also after an error: the next image must not see the last one's adapters."""
    plain, parts = run(), dict(transformer.named_modules())
    before = {name: tensor.clone() for name, tensor in transformer.state_dict().items()}

    def attach_and_fail() -> None:
        with attach(transformer, [(a, 1.0) for a in adapters], gates, watch=True):
            assert not torch.equal(run(), plain)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attach_and_fail()

    assert hooks(transformer) == 0
    assert all(parts[name] is part for name, part in transformer.named_modules())
    after = transformer.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(run(), plain)


def test_activity_is_the_mean_gate_of_each_adapter(
    transformer: nn.Module,
    run: Callable[[], Tensor],
    adapters: list[LoraWeights],
) -> None:
    """Open gates stand at sigmoid(2) everywhere; silent adapters have none."""
    gates = AutoLoraGates.for_transformer(transformer, BASE_MODEL)
    chosen = [(adapters[0], 0.0), (adapters[1], 1.0), (adapters[2], 1.0)]
    with attach(transformer, chosen, gates, watch=True) as attachment:
        run()
        run()
    assert attachment.activity(0) == {}
    for place in (1, 2):
        activity = attachment.activity(place)
        assert activity.keys() == adapters[place].layers.keys()
        assert all(value == pytest.approx(0.8808, abs=1e-4) for value in activity.values())


def test_layers_that_do_not_fit_are_named(
    transformer: nn.Module, adapters: list[LoraWeights], gates: AutoLoraGates
) -> None:
    layer = "transformer_blocks.0.attn.to_q"
    good = adapters[0].layers[layer]
    down, up = good.factors()

    def adapter(name: str, **changed: Tensor) -> list[tuple[LoraWeights, float]]:
        part = LoraLayer(changed.get("down", down), up, good.scale)
        return [(make_like(adapters[0], {name: part}), 1.0)]

    for wrong in (
        adapter("transformer_blocks.9.attn.to_q"),
        adapter("transformer_blocks.0"),
        adapter(layer, down=torch.zeros(2, 64)),
    ):
        with (
            pytest.raises(LayerMismatchError, match="transformer_blocks"),
            attach(transformer, wrong, gates),
        ):
            pass
    with (
        pytest.raises(LayerMismatchError, match="disagree"),
        attach(transformer, [*adapter(layer), *adapter(layer, down=torch.zeros(2, 64))], gates),
    ):
        pass
    assert hooks(transformer) == 0


def test_a_layer_whose_numbers_are_packed_is_known_by_its_size(
    transformer: nn.Module, run: Callable[[], Tensor], adapters: list[LoraWeights]
) -> None:
    """As bitsandbytes' layers of four bits are: a column of bytes, two weights each."""
    plain = run()
    for module in transformer.modules():
        if isinstance(module, nn.Linear):
            module.__class__ = PackedLinear
            module.weight = nn.Parameter(module.weight.reshape(-1, 1))

    with attach(transformer, [(adapters[0], 1.0)], mode="sum"):
        fused = run()

    torch.testing.assert_close(run(), plain)
    assert not torch.allclose(fused, plain)


class PackedLinear(nn.Linear):
    """Unpacks what it multiplies with."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.reshape(self.out_features, self.in_features)
        return nn.functional.linear(x, weight, self.bias)


def make_like(weights: LoraWeights, layers: dict[str, object]) -> LoraWeights:
    return LoraWeights(layers, weights.base_model, (), None, {}, weights.verdict)  # type: ignore[arg-type]


def test_layers_without_a_gate_are_refused(
    transformer: nn.Module, adapters: list[LoraWeights]
) -> None:
    few = AutoLoraGates({"transformer_blocks.0.attn.to_q": 128}, BASE_MODEL)
    for gates in (few, None):
        with (
            pytest.raises(MissingGateError, match="transformer_blocks"),
            attach(transformer, [(adapters[1], 1.0)], gates),
        ):
            pass
    assert hooks(transformer) == 0


def test_gates_of_another_width_are_refused(
    transformer: nn.Module, adapters: list[LoraWeights]
) -> None:
    narrow = AutoLoraGates(dict.fromkeys(adapters[1].layers, 64), BASE_MODEL)
    with (
        pytest.raises(LayerMismatchError, match="gate has 64 features, the base 128"),
        attach(transformer, [(adapters[1], 1.0)], narrow),
    ):
        pass
    assert hooks(transformer) == 0


def test_a_second_attachment_is_refused(
    transformer: nn.Module, adapters: list[LoraWeights]
) -> None:
    """Two would add up without anybody having asked for it."""
    with attach(transformer, [(adapters[0], 1.0)], mode="sum"):
        count = hooks(transformer)
        with (
            pytest.raises(AlreadyAttachedError),
            attach(transformer, [(adapters[1], 1.0)], mode="sum"),
        ):
            pass
        assert hooks(transformer) == count
