"""Adapters in every supported family, through the family's own pipeline."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload
from accelerate.hooks import remove_hook_from_module
from diffusers import PNDMScheduler
from PIL import Image
from torch import nn
from torch.nn import functional as F

from registry.fusion import previews
from registry.fusion.attach import attach
from registry.fusion.backends.base import Sampling
from registry.fusion.backends.pipeline import PipelineBackend, load_backend
from registry.fusion.base_folder import read_sizes
from registry.fusion.errors import BaseModelError, LayerMismatchError, SamplingError
from registry.fusion.exports.export import export
from registry.fusion.gates.autolora import AutoLoraGates
from registry.fusion.generate import generate
from registry.fusion.options import Drawing, GuideFrom
from tests.registry.fusion.builders import block_layers, make_adapter, make_weights, save_tiny_flux
from tests.registry.fusion.pipelines import (
    save_klein,
    save_qwen_image,
    save_sd,
    save_sdxl,
    save_z_image,
)

# diffusers' Euler sampler asks torch for an array in a way that NumPy gives up.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SIZE = {
    "sdxl-1.0": 8,
    "sd-1.5": 8,
    "qwen-image": 16,
    "flux.1-schnell": 16,
    "z-image": 16,
    "flux.2-klein-base-4b": 16,
}


def save_schnell(folder: Path) -> None:
    save_tiny_flux(folder, torch.float32, guidance=False)


@pytest.fixture(
    scope="module",
    params=[
        ("sdxl-1.0", save_sdxl),
        ("sd-1.5", save_sd),
        ("qwen-image", save_qwen_image),
        ("flux.1-schnell", save_schnell),
        ("z-image", save_z_image),
        ("flux.2-klein-base-4b", save_klein),
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


@pytest.mark.parametrize("paints", ["decoder", "colours"])
def test_images_are_shown_while_they_are_drawn(
    family: PipelineBackend, monkeypatch: pytest.MonkeyPatch, paints: str
) -> None:
    """By a decoder that is tiny or by the colours of latents; no pixel is another for it."""
    monkeypatch.setattr(previews, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(previews, "MOST_SHARE", float("inf"))
    if paints == "colours":
        monkeypatch.setattr(previews, "TINY_DECODER", 0)
    side = SIZE[family.base_model]
    sampling = Sampling(steps=2, width=side, height=2 * side)
    seen: list[Image.Image] = []

    (shown,) = family.generate(["red"], sampling, None, seen.append)
    (unseen,) = family.generate(["red"], sampling)

    assert shown.tobytes() == unseen.tobytes()
    # Tiny autoencoders of these have other channels than the real ones, whose colours are known.
    others = {"flux.2-klein-base-4b"} | ({"z-image"} if paints == "colours" else set())
    assert len(seen) == (0 if family.base_model in others else 2)
    assert all(picture.height == 2 * picture.width for picture in seen)


def test_a_scheduler_of_more_steps_is_told_as_it_draws(tmp_path: Path) -> None:
    """Stable Diffusion's own takes the second one twice; "step 4 of 3" nobody believes."""
    save_sd(tmp_path)
    base = load_backend(tmp_path, "sd-1.5")
    base._pipeline.scheduler = PNDMScheduler(skip_prk_steps=True, steps_offset=1)
    told: list[tuple[int, int]] = []

    base.generate(["red"], Sampling(steps=3), lambda *step: told.append(step))

    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def hooks(base: nn.Module) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in base.modules())


def test_adapters_are_fused_and_leave_nothing(family: PipelineBackend) -> None:
    """Gated; and after it the base draws as before."""
    base, side = family.transformer, SIZE[family.base_model]
    layers = block_layers(base)
    weights = [
        make_weights(base, layers, seed=k, rank=2, base_model=family.base_model) for k in range(2)
    ]
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


def test_guidance_means_what_it_means_to_the_pipeline(family: PipelineBackend) -> None:
    """v_0 + g (v - v_0) for every base, whatever its pipeline is told for that."""
    side, pipeline = SIZE[family.base_model], family._pipeline
    avoided: dict[str, Any] = {"negative_prompt": ["pear"]}
    match family.base_model:
        case "z-image":
            asked = {**avoided, "guidance_scale": 3.0}  # counts from 0
        case "flux.2-klein-base-4b":
            embeddings, _ = pipeline.encode_prompt(["pear"])
            asked = {"negative_prompt_embeds": embeddings, "guidance_scale": 4.0}
        case "qwen-image" | "flux.1-schnell":
            asked = {**avoided, "true_cfg_scale": 4.0}
        case _:
            asked = {**avoided, "guidance_scale": 4.0}
    sampling = Sampling(seed=1, steps=2, guidance=4.0, width=side, height=side, negative="pear")

    (image,) = family.generate(["red"], sampling)

    (expected,) = pipeline(
        prompt=["red"],
        num_inference_steps=2,
        width=side,
        height=side,
        generator=[torch.Generator().manual_seed(1)],
        **asked,
    ).images
    assert image.tobytes() == expected.tobytes()


def test_scripts_ask_diffusers_for_the_same(family: PipelineBackend) -> None:
    side = SIZE[family.base_model]
    drawing = Drawing(steps=1, guidance=4.0, negative="pear", mode="base", size=(side, side))
    asked = {
        "flux.1-schnell": ["true_cfg_scale=4.0", "negative_prompt='pear'"],
        "qwen-image": ["true_cfg_scale=4.0", "negative_prompt='pear'"],
        "z-image": ["guidance_scale=3.0", "negative_prompt='pear'"],
        "flux.2-klein-base-4b": [
            "guidance_scale=4.0",
            "negative_prompt_embeds=pipe.encode_prompt('pear')[0]",
        ],
    }

    script = export(generate("red", [], family, None, drawing).recipe, "diffusers")

    compile(script, "this.py", "exec")
    usual = ["guidance_scale=4.0", "negative_prompt='pear'"]
    assert all(f"    {words},\n" in script for words in asked.get(family.base_model, usual))


def test_distilled_bases_have_no_passes_without_the_prompt(tmp_path: Path) -> None:
    """FLUX.2 klein takes no notice of a factor; its base does."""
    save_klein(tmp_path)
    index = tmp_path / "model_index.json"
    index.write_text(index.read_text().replace('"is_distilled": false', '"is_distilled": true'))

    distilled = load_backend(tmp_path, "flux.2-klein-4b")

    assert (distilled.defaults.steps, distilled.defaults.guidance) == (4, 1.0)
    assert distilled.unprompted_passes(4.0) is None


def test_layers_that_take_all_samples_in_a_row_cannot_rest(tmp_path: Path) -> None:
    """Z-Image embeds the words of all prompts at once; the rest of it goes sample by sample."""
    save_z_image(tmp_path)
    family = load_backend(tmp_path, "z-image")
    weights = make_weights(family.transformer, ["cap_embedder.1"], seed=1, base_model="z-image")

    def draw(guide_from: GuideFrom, guidance: float = 4.0) -> bytes:
        drawing = Drawing(
            steps=1, guidance=guidance, mode="sum", guide_from=guide_from, size=(16, 16)
        )
        adapters = [make_adapter("a", weights)]
        return generate("red", adapters, family, None, drawing).image.tobytes()

    with pytest.raises(LayerMismatchError, match="takes all samples in a row"):
        draw("base")
    assert draw("fused") != draw("base", guidance=1.0)


def texts_of(inputs: tuple[Any, ...], named: Mapping[str, Any]) -> Sequence[torch.Tensor]:
    """The text of every row of a pass, (words, dim); Z-Image is told by place."""
    texts: Sequence[torch.Tensor] = (
        named["encoder_hidden_states"] if "encoder_hidden_states" in named else inputs[2]
    )
    return texts


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
        texts = [text for inputs, named, _ in passes for text in texts_of(inputs, named)]
        longest = max(map(len, texts))
        rows = [F.pad(text, (0, 0, 0, longest - len(text))).flatten() for text in texts]
        alone = [
            torch.equal(again, said)
            for inputs, named, output in passes
            for again, said in zip(base(*inputs, **named)[0], output, strict=True)
        ]
        return torch.stack(rows), torch.tensor(alone)

    (texts, resting), (others, _) = first_step(4.0, "pear"), first_step(4.0, "no leaf")
    assert resting.tolist() == (texts != others).any(1).tolist()
    assert resting.sum() == 1
    assert len(resting) == 2
    assert first_step(1.0, "pear")[1].tolist() == [False]


def test_sizes_that_the_base_cannot_draw_are_refused(family: PipelineBackend) -> None:
    side = SIZE[family.base_model]
    with pytest.raises(SamplingError, match="multiples of"):
        family.generate(["red"], Sampling(steps=1, width=side + 1, height=side))


def test_a_folders_configs_tell_the_sizes_that_its_pipeline_finds(family: PipelineBackend) -> None:
    """So a size is refused before the weights are loaded."""
    pipeline = family._pipeline
    # Stable Diffusion's looks into its network, Z-Image's into nothing.
    latents = getattr(pipeline, "default_sample_size", None)
    if latents is None:
        latents = pipeline.unet.config.sample_size if family.base_model == "sd-1.5" else None

    sizes = read_sizes(family._folder, family.base_model)

    assert sizes.unit == family._facts.token_side * pipeline.vae_scale_factor
    assert sizes.side == (latents * pipeline.vae_scale_factor if latents else 1024)


def test_defaults_are_the_familys(family: PipelineBackend) -> None:
    defaults = {
        "sdxl-1.0": ("sdxl", 30, 5.0),
        "sd-1.5": ("sd", 30, 7.5),
        "qwen-image": ("qwen-image", 30, 4.0),
        "flux.1-schnell": ("flux", 4, 1.0),
        "z-image": ("z-image", 50, 5.0),
        "flux.2-klein-base-4b": ("flux.2-klein", 50, 4.0),
    }
    name, steps, guidance = defaults[family.base_model]
    assert (family.defaults.steps, family.defaults.guidance) == (steps, guidance)
    assert family.name == f"diffusers-{name}"


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
