"""Adapters in every supported family, through the family's own pipeline."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import cpu_offload
from accelerate.hooks import remove_hook_from_module
from torch import nn
from torch.nn import functional as F

from encoder.adapter.layers import LoraLayer
from registry.fusion.attach import attach
from registry.fusion.backends.base import Sampling
from registry.fusion.backends.pipeline import PipelineBackend, load_backend
from registry.fusion.errors import BaseModelError, SamplingError
from registry.fusion.gates.autolora import AutoLoraGates
from registry.fusion.generate import generate
from registry.fusion.options import Drawing
from tests.registry.fusion.builders import block_layers, make_adapter, make_weights, save_tiny_flux
from tests.registry.fusion.pipelines import save_qwen_image, save_sd, save_sdxl

# diffusers' Euler sampler asks torch for an array in a way that NumPy gives up.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SIZE = {"sdxl-1.0": 8, "sd-1.5": 8, "qwen-image": 16, "flux.1-schnell": 16}


def save_schnell(folder: Path) -> None:
    save_tiny_flux(folder, torch.float32, guidance=False)


@pytest.fixture(
    scope="module",
    params=[
        ("sdxl-1.0", save_sdxl),
        ("sd-1.5", save_sd),
        ("qwen-image", save_qwen_image),
        ("flux.1-schnell", save_schnell),
    ],
    ids=lambda param: param[0],
)
def family(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> PipelineBackend:
    name, save = request.param
    folder = tmp_path_factory.mktemp(name)
    save(folder)
    return load_backend(folder, name)


def hooks(base: nn.Module) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in base.modules())


def test_adapters_are_fused_and_leave_nothing(family: PipelineBackend) -> None:
    """Gated, with convolutions left out and said so; and after it the base draws as before."""
    base, side = family.transformer, SIZE[family.base_model]
    layers = block_layers(base)
    weights = [
        make_weights(base, layers, seed=k, rank=2, base_model=family.base_model) for k in range(2)
    ]
    weights[1].layers["conv_in"] = LoraLayer(torch.ones(2, 4, 3, 3), torch.ones(32, 2, 1, 1), 1.0)
    adapters = [make_adapter(f"a{k}", own) for k, own in enumerate(weights)]
    gates = AutoLoraGates.for_transformer(base, family.base_model)
    state = {name: tensor.clone() for name, tensor in base.state_dict().items()}

    def draw(count: int) -> bytes:
        fused = generate(
            "red apple",
            adapters[:count],
            family,
            gates,
            Drawing(steps=2, guidance=2.0, size=(2 * side, side)),
        )
        assert fused.image.size == (2 * side, side)
        assert (count == 2) == any("convolutions" in said for said in fused.recipe.warnings)
        return fused.image.tobytes()

    plain, one, two = draw(0), draw(1), draw(2)
    assert len({plain, one, two}) == 3
    assert hooks(base) == 0
    after = base.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in state.items())
    assert draw(0) == plain


def test_guidance_and_negative_prompts_reach_the_base(family: PipelineBackend) -> None:
    side = SIZE[family.base_model]

    def draw(guidance: float, negative: str = "") -> bytes:
        sampling = Sampling(steps=2, guidance=guidance, width=side, height=side, negative=negative)
        return family.generate(["red"], sampling)[0].tobytes()

    assert len({draw(1.0), draw(4.0), draw(4.0, "apple")}) == 3
    assert draw(4.0) == draw(4.0)


@torch.no_grad()
def test_adapters_rest_where_guidance_leads_away_from(family: PipelineBackend) -> None:
    """Exactly in what the negative prompt, whatever it is, shapes; guidance of 1 has no such."""
    base, side = family.transformer, SIZE[family.base_model]
    weights = make_weights(base, block_layers(base), seed=1, base_model=family.base_model)
    gates = AutoLoraGates.for_transformer(base, family.base_model)

    def first_step(guidance: float, negative: str) -> tuple[torch.Tensor, torch.Tensor]:
        """The texts of its rows, and whether a row is what the base says by itself."""
        passes = []
        handle = base.register_forward_hook(
            lambda _, inputs, named, output: passes.append((inputs, named, output[0])),
            with_kwargs=True,
        )
        generate(
            "red apple",
            [make_adapter("a", weights)],
            family,
            gates,
            Drawing(
                steps=1,
                guidance=guidance,
                guide_from="base",
                negative=negative,
                check=False,
                size=(side, side),
            ),
        )
        handle.remove()
        texts = [named["encoder_hidden_states"] for _, named, _ in passes]
        longest = max(text.shape[1] for text in texts)
        rows = [F.pad(text, (0, 0, 0, longest - text.shape[1])).flatten(1) for text in texts]
        alone = [
            (base(*inputs, **named)[0] == output).flatten(1).all(1)
            for inputs, named, output in passes
        ]
        return torch.cat(rows), torch.cat(alone)

    (texts, resting), (others, _) = first_step(4.0, "pear"), first_step(4.0, "no leaf")
    assert resting.tolist() == (texts != others).any(1).tolist()
    assert resting.sum() == 1
    assert len(resting) == 2
    assert first_step(1.0, "pear")[1].tolist() == [False]


def test_sizes_that_the_base_cannot_draw_are_refused(family: PipelineBackend) -> None:
    side = SIZE[family.base_model]
    with pytest.raises(SamplingError, match="multiples of"):
        family.generate(["red"], Sampling(steps=1, width=side + 1, height=side))


def test_defaults_are_the_familys(family: PipelineBackend) -> None:
    defaults = {"sdxl-1.0": (30, 5.0), "sd-1.5": (30, 7.5), "qwen-image": (30, 4.0)}
    expected = defaults.get(family.base_model, (4, 1.0))
    assert (family.defaults.steps, family.defaults.guidance) == expected
    assert family.name == f"diffusers-{family.base_model.split('.')[0].removesuffix('-1')}"


def offload_layers(base: nn.Module) -> Callable[[], object]:
    """What enable_sequential_cpu_offload does, with the CPU as the device."""
    cpu_offload(base, torch.device("cpu"))
    assert next(base.parameters()).is_meta
    return lambda: remove_hook_from_module(base, recurse=True)


def store_in_eight_bits(base: nn.Module) -> Callable[[], object]:
    base.enable_layerwise_casting(  # type: ignore[operator]
        storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32
    )
    return lambda: None


def run_in_bfloat16(base: nn.Module) -> Callable[[], object]:
    base.to(torch.bfloat16)
    return lambda: None


@pytest.mark.parametrize("treat", [offload_layers, store_in_eight_bits, run_in_bfloat16])
@pytest.mark.parametrize("mode", ["gated", "sum"])
def test_adapters_follow_where_the_weights_are(
    transformer: nn.Module, treat: Callable[[nn.Module], Callable[[], object]], mode: str
) -> None:
    """Offloaded, stored in 8 bits or run in 16, the base takes adapters all the same."""
    layers = block_layers(transformer)
    gates = AutoLoraGates.for_transformer(transformer, "demo-flux-tiny").requires_grad_(False)
    adapters = [(make_weights(transformer, layers, seed=k, scale=0.05), 1.0) for k in range(2)]
    torch.manual_seed(0)
    inputs = {
        "hidden_states": torch.randn(2, 16, 64),
        "encoder_hidden_states": torch.randn(2, 8, 512),
        "pooled_projections": torch.randn(2, 512),
        "timestep": torch.tensor([0.3, 0.7]),
        "img_ids": torch.zeros(16, 3),
        "txt_ids": torch.zeros(8, 3),
    }

    @torch.no_grad()
    def run(dtype: torch.dtype = torch.float32) -> torch.Tensor:
        output: torch.Tensor = transformer(
            **{name: value.to(dtype) for name, value in inputs.items()}, return_dict=False
        )[0]
        return output.float()

    with attach(transformer, adapters, gates, mode):  # type: ignore[arg-type]
        expected = run()
    dtype = torch.bfloat16 if treat is run_in_bfloat16 else torch.float32
    undo = treat(transformer)
    plain = run(dtype)
    with attach(transformer, adapters, gates, mode):  # type: ignore[arg-type]
        treated = run(dtype)
    assert torch.equal(run(dtype), plain)
    undo()
    change = (expected - treated).norm() / expected.norm()
    assert change < (1e-5 if treat is offload_layers else 0.1)
    assert not torch.equal(treated, plain)


def test_devices_that_are_not_here_are_said(base_folder: Path) -> None:
    with pytest.raises(BaseModelError, match="nothing to offload from a CPU"):
        load_backend(base_folder, "demo-flux-tiny", offload="model")
    with pytest.raises(BaseModelError, match="cannot be loaded"):
        load_backend(base_folder, "demo-flux-tiny", device="cuda:7")
