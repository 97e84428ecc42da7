"""Published gates span several layers; in diffusers' FLUX they give DiffSynth's numbers."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from demo.base import velocity
from encoder.adapter.lora_file import LoraWeights
from encoder.base_models.families import find_family
from registry.fusion.attach import attach
from registry.fusion.errors import GatesFileError, LayerMismatchError, MissingGateError
from registry.fusion.gates.diffsynth import DiffSynthGates
from registry.fusion.gates.file import load_gates
from registry.fusion.guidance import GuidedPasses
from tests.registry.fusion.builders import BASE_MODEL, block_layers, make_weights

WIDTH = 128  # of the miniature world's base
DOUBLE = {
    "attn.{}_to_qkv": 3,
    "attn.{}_to_out": 1,
    "ff_{}.0": 4,
    "ff_{}.2": 1,
    "norm1_{}.linear": 6,
}
SINGLE = {"to_qkv_mlp": 7, "proj_out": 1, "norm.linear": 3}


def published_names(doubles: int, singles: int) -> dict[str, int]:
    """Return the published gates of a FLUX by name, with their features in widths."""
    double = {
        f"blocks.{i}.{name.format(side)}": widths
        for i in range(doubles)
        for name, widths in DOUBLE.items()
        for side in "ab"
    }
    single = {
        f"single_blocks.{i}.{name}": widths
        for i in range(singles)
        for name, widths in SINGLE.items()
    }
    return double | single


def published_tensors(width: int, doubles: int, singles: int) -> dict[str, Tensor]:
    """Draw a checkpoint in the published layout."""
    generator = torch.Generator().manual_seed(0)
    return {
        f"model_dict.{name.replace('.', '___')}.{part}": torch.randn(
            widths * width, generator=generator
        )
        for name, widths in published_names(doubles, singles).items()
        for part in (
            *("weight_base", "weight_lora", "weight_cross", "weight_out", "bias"),
            *(f"norm_{of}.{which}" for of in ("base", "lora") for which in ("weight", "bias")),
        )
    }


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    return published_tensors(WIDTH, doubles=2, singles=4)


@pytest.fixture
def path(tensors: dict[str, Tensor], tmp_path: Path) -> Path:
    save_file(tensors, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.fixture
def adapters(transformer: nn.Module) -> list[LoraWeights]:
    """One of all layers, one without a part of every span, one of a few and one outside."""
    layers = block_layers(transformer)
    some = [n for n in layers if not n.endswith(("to_k", "proj_mlp", "add_v_proj"))]
    return [
        make_weights(transformer, layers, seed=1, rank=2),
        make_weights(transformer, some, seed=2, rank=4, scale=1.5),
        make_weights(
            transformer, ["single_transformer_blocks.1.attn.to_v", "x_embedder"], seed=3, rank=1
        ),
    ]


@pytest.fixture
def run(transformer: nn.Module) -> Callable[[], Tensor]:
    torch.manual_seed(1)
    noisy, tokens, pooled = torch.randn(4, 16, 64), torch.randn(4, 8, 512), torch.randn(4, 512)
    return lambda: velocity(transformer, noisy, (tokens, pooled), torch.linspace(0.1, 0.9, 4))


def slow_merge(own: Mapping[str, Tensor], base: Tensor, outputs: list[Tensor]) -> Tensor:
    """The published formula, one adapter after the other."""
    dim = base.shape[-1:]
    base_hat = F.layer_norm(base, dim, own["norm_base.weight"], own["norm_base.bias"])
    fused = base
    for output in outputs:
        hat = F.layer_norm(output, dim, own["norm_lora.weight"], own["norm_lora.bias"])
        gate = torch.sigmoid(
            base_hat * own["weight_base"]
            + hat * own["weight_lora"]
            + base_hat * hat * own["weight_cross"]
            + own["bias"]
        )
        fused = fused + own["weight_out"] * gate * output
    return fused


def slow_attach(
    transformer: nn.Module, adapters: list[tuple[LoraWeights, float]], tensors: dict[str, Tensor]
) -> None:
    """Let every layer compute its whole span for itself, forming each ΔW."""
    renamed = {"a_to_qkv": "to_q to_k to_v", "b_to_qkv": "add_q_proj add_k_proj add_v_proj"}
    renamed |= {"a_to_out": "to_out.0", "b_to_out": "to_add_out"}
    for name in published_names(2, 4):
        blocks, index, rest = name.split(".", 2)
        if blocks == "single_blocks":
            parts = {"to_qkv_mlp": "attn.to_q attn.to_k attn.to_v proj_mlp"}.get(rest, rest).split()
        elif rest.startswith("attn."):
            parts = [f"attn.{part}" for part in renamed[rest.removeprefix("attn.")].split()]
        else:
            inner = {"0": "net.0.proj", "2": "net.2", "linear": "linear"}[rest.split(".")[1]]
            first = {"ff_a": "ff", "ff_b": "ff_context", "norm1_a": "norm1"}
            parts = [f"{first.get(rest.split('.')[0], 'norm1_context')}.{inner}"]
        prefix = {"blocks": "transformer_blocks", "single_blocks": "single_transformer_blocks"}
        layers = [f"{prefix[blocks]}.{index}.{part}" for part in parts]
        key = f"model_dict.{name.replace('.', '___')}."
        own = {k.removeprefix(key): t for k, t in tensors.items() if k.startswith(key)}
        slow_span(transformer, layers, adapters, own)
    for weights, strength in adapters:
        for layer, change in weights.layers.items():
            if "transformer_blocks." not in layer:
                linear = transformer.get_submodule(layer)
                assert isinstance(linear, nn.Linear)
                linear.weight.add_(change.delta() * strength)


def slow_span(
    transformer: nn.Module,
    layers: list[str],
    adapters: list[tuple[LoraWeights, float]],
    own: dict[str, Tensor],
) -> None:
    linears: list[nn.Linear] = []
    for layer in layers:
        linear = transformer.get_submodule(layer)
        assert isinstance(linear, nn.Linear)
        linears.append(linear)
    widths = [linear.out_features for linear in linears]

    def fuse(place: int, x: Tensor) -> Tensor:
        outputs = [
            torch.cat(
                [
                    x @ (weights.layers[layer].delta() * strength).T
                    if layer in weights.layers
                    else x.new_zeros(*x.shape[:-1], width)
                    for layer, width in zip(layers, widths, strict=True)
                ],
                -1,
            )
            for weights, strength in adapters
            if any(layer in weights.layers for layer in layers)
        ]
        base = torch.cat([F.linear(x, linear.weight, linear.bias) for linear in linears], -1)
        parts: tuple[Tensor, ...] = slow_merge(own, base, outputs).split(widths, -1)
        return parts[place]

    for place, linear in enumerate(linears):
        linear.register_forward_hook(lambda _, inputs, __, place=place: fuse(place, inputs[0]))


def test_published_gates_follow_the_formula(
    transformer: nn.Module,
    run: Callable[[], Tensor],
    adapters: list[LoraWeights],
    path: Path,
    tensors: dict[str, Tensor],
) -> None:
    """The LayerNorms run over the whole span, also for an adapter that lacks a part of it."""
    strong = list(zip(adapters, [1.0, 0.6, -0.5], strict=True))
    with torch.no_grad():
        with attach(transformer, strong, load_gates(path, BASE_MODEL)):
            fused, again = run(), run()
        slow_attach(transformer, strong, tensors)
        expected = run()
    assert torch.equal(fused, again)
    torch.testing.assert_close(fused, expected, rtol=1e-5, atol=1e-5)


def test_each_layer_is_computed_once(
    transformer: nn.Module,
    run: Callable[[], Tensor],
    adapters: list[LoraWeights],
    path: Path,
) -> None:
    """A span's other layers are asked once for all their rows, and then run on none."""
    rows: list[int] = []
    value = transformer.get_submodule("transformer_blocks.0.attn.to_v")
    before = value.forward
    value.forward = lambda x: rows.append(len(x)) or before(x)  # type: ignore[func-returns-value]
    with attach(transformer, [(adapters[0], 1.0)], load_gates(path, BASE_MODEL)):
        run()
    assert rows == [4, 0]


def test_a_pass_that_breaks_off_leaves_nothing_for_the_next(
    transformer: nn.Module,
    run: Callable[[], Tensor],
    adapters: list[LoraWeights],
    path: Path,
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    plain = run()
    with attach(transformer, [(adapters[0], 1.0)], load_gates(path, BASE_MODEL)):
        whole = run()
        # After q has computed the span, and before k and v have taken their shares.
        key = transformer.get_submodule("transformer_blocks.1.attn.to_k")
        handle = key.register_forward_pre_hook(stop, prepend=True)
        with pytest.raises(KeyboardInterrupt):
            run()
        handle.remove()
        assert torch.equal(run(), whole)
    assert torch.equal(run(), plain)
    for part in transformer.modules():
        assert not part._forward_hooks
        assert not part._forward_pre_hooks


def test_it_rests_in_every_other_pass(
    transformer: nn.Module, run: Callable[[], Tensor], adapters: list[LoraWeights], path: Path
) -> None:
    """Where guidance asks for no prompt; layers outside of the blocks too."""
    gates, plain = load_gates(path, BASE_MODEL), run()
    strong = [(one, 1.0) for one in adapters]
    with attach(transformer, strong, gates):
        whole = run()
    with attach(transformer, strong, gates, passes=GuidedPasses("calls"), watch=True) as attachment:
        fused = [run() for _ in range(4)]
    for once, resting in (fused[:2], fused[2:]):
        assert torch.equal(once, whole)
        assert torch.equal(resting, plain)
    assert all(len(passes) == 2 for passes in attachment.passes(0).values())


def test_activity_tells_the_parts_apart(
    transformer: nn.Module, run: Callable[[], Tensor], adapters: list[LoraWeights], path: Path
) -> None:
    gates = load_gates(path, BASE_MODEL)
    with attach(transformer, [(a, 1.0) for a in adapters], gates, watch=True) as attachment:
        run()
        run()
    assert attachment.activity(0).keys() == set(block_layers(transformer))
    assert attachment.activity(2).keys() == {"single_transformer_blocks.1.attn.to_v"}
    assert all(len(passes) == 2 for passes in attachment.passes(1).values())
    assert len(set(attachment.activity(0).values())) > 40


def test_gates_of_another_width_or_base_are_refused(
    transformer: nn.Module, adapters: list[LoraWeights], path: Path, tmp_path: Path
) -> None:
    save_file(published_tensors(64, 2, 4), tmp_path / "narrow.safetensors")
    save_file(published_tensors(WIDTH, 1, 4), tmp_path / "short.safetensors")
    with (
        pytest.raises(LayerMismatchError, match="another base"),
        attach(
            transformer,
            [(adapters[0], 1.0)],
            load_gates(tmp_path / "narrow.safetensors", BASE_MODEL),
        ),
    ):
        pass
    with (
        pytest.raises(MissingGateError, match=r"transformer_blocks\.1"),
        attach(
            transformer,
            [(adapters[0], 1.0)],
            load_gates(tmp_path / "short.safetensors", BASE_MODEL),
        ),
    ):
        pass
    assert not any(part._forward_hooks for part in transformer.modules())


def test_the_published_checkpoint_covers_all_blocks_of_flux(tmp_path: Path) -> None:
    """Its 304 gates and 2,736 tensors, one feature wide here, are FLUX.1's 504 linear layers."""
    family = find_family("flux.1-dev")
    assert family is not None
    tensors = published_tensors(1, doubles=19, singles=38)
    save_file(tensors, tmp_path / "model.safetensors")
    gates = load_gates(tmp_path / "model.safetensors", "flux.1-dev")
    assert isinstance(gates, DiffSynthGates)
    assert (len(tensors), len(gates.spans)) == (2736, 304)
    assert {layer for span in gates.spans for layer in span} == set(family.block_layers)


def test_files_that_are_no_published_gates_are_refused(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(GatesFileError):
        load_gates(path, BASE_MODEL)
    name = "model_dict.blocks___0___ff_a___0"
    for change, says in (
        ({f"{name}.weight_more": torch.zeros(1)}, "no gate of FLUX"),
        ({"model_dict.blocks___0___mlp.bias": torch.zeros(1)}, "no gate of FLUX"),
        ({f"{name}.bias": torch.tensor([float("nan")])}, "NaN"),
        ({f"{name}.bias": torch.zeros(3)}, "damaged"),
    ):
        save_file(tensors | change, path)
        with pytest.raises(GatesFileError, match=says):
            load_gates(path, BASE_MODEL)
    save_file({k: t for k, t in tensors.items() if k != f"{name}.bias"}, path)
    with pytest.raises(GatesFileError, match="incomplete"):
        load_gates(path, BASE_MODEL)
