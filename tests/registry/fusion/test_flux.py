"""The FLUX backend: what it draws is what the base was trained for."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import ImageChops
from PIL.Image import Image
from torch import Tensor

from demo.base import velocity
from registry.fusion.attach import attach
from registry.fusion.backends.base import Sampling, hash_files
from registry.fusion.backends.pipeline import PipelineBackend, load_backend
from registry.fusion.backends.prompt import PromptEncoder
from registry.fusion.errors import BaseModelError, GenerationCancelledError, SamplingError
from tests.registry.fusion.builders import (
    BASE_MODEL,
    block_layers,
    make_weights,
    save_tiny_flux,
)

STEPS = 3


@torch.no_grad()
def slow_draw(
    backend: PipelineBackend, prompts: PromptEncoder, prompt: str, guidance: float
) -> Image:
    """Integrate the trained velocity from noise (time 1) to data (time 0), step by step."""
    x = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(5))
    x = x.view(1, 16, 4, 2, 4, 2).permute(0, 2, 4, 1, 3, 5).reshape(1, 16, 64)
    asked, nothing = prompts.encode([prompt]), prompts.encode([""])
    for k in range(STEPS):
        when = torch.tensor([1 - k / STEPS])

        def predict(text: tuple[Tensor, Tensor], x: Tensor = x, when: Tensor = when) -> Tensor:
            return velocity(backend.transformer, x, text, when)

        plain = predict(nothing)
        x = x - (plain + guidance * (predict(asked) - plain)) / STEPS
    latents = x.view(1, 4, 4, 16, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(1, 16, 8, 8)
    vae = backend._pipeline.vae
    decoded = vae.decode(latents / vae.config.scaling_factor + vae.config.shift_factor).sample
    image: Image = VaeImageProcessor().postprocess(decoded, output_type="pil")[0]
    return image


def difference(a: Image, b: Image) -> int:
    """The largest difference of a channel of a pixel, 0..255."""
    return max(high for _, high in ImageChops.difference(a, b).getextrema())  # type: ignore[misc]


def test_backend_integrates_the_velocity_that_was_trained(backend: PipelineBackend) -> None:
    """Times, shift, packing, guidance and scaling agree with the training of the base."""
    assert backend._prompt_encoder is not None
    (drawn,) = backend.generate(["red apple"], Sampling(seed=5, steps=STEPS, guidance=2.5))
    expected = slow_draw(backend, backend._prompt_encoder, "red apple", 2.5)
    assert drawn.size == (64, 64)
    assert difference(drawn, expected) <= 1


def test_a_base_in_half_precision_draws_what_its_sentences_say(
    base_folder: Path, backend: PipelineBackend
) -> None:
    """As on a GPU: embeddings come in float32, and the network is not."""
    half = load_backend(base_folder, BASE_MODEL)
    half._pipeline.to(dtype=torch.bfloat16)
    sampling = Sampling(seed=5, steps=STEPS, guidance=2.5)

    (drawn,), (whole,) = (each.generate(["red apple"], sampling) for each in (half, backend))
    (other,) = backend.generate(["blue car"], sampling)

    assert difference(drawn, whole) < difference(other, whole)


def test_a_seed_fixes_every_pixel(backend: PipelineBackend) -> None:
    first, again, other = (
        backend.generate(["red apple"], Sampling(seed=seed, steps=2))[0] for seed in (1, 1, 2)
    )
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_prompts_share_their_noise_and_may_be_negative(backend: PipelineBackend) -> None:
    same = backend.generate(["cat", "cat"], Sampling(steps=2))
    assert difference(*same) <= 1
    # Steering away from what is asked for leaves nothing of it to steer by.
    cancelled = backend.generate(["cat"], Sampling(steps=2, negative="cat"))[0]
    unguided = backend.generate(["cat"], Sampling(steps=2, guidance=1.0))[0]
    assert difference(cancelled, unguided) <= 1
    assert difference(cancelled, same[0]) > 1


def test_progress_is_told_and_may_cancel(backend: PipelineBackend) -> None:
    seen = []

    def progress(done: int, steps: int) -> None:
        seen.append((done, steps))
        if done == 2:
            raise GenerationCancelledError

    with pytest.raises(GenerationCancelledError):
        backend.generate(["cat"], Sampling(steps=3), progress)
    assert seen == [(1, 3), (2, 3)]


def test_other_sizes_are_drawn(backend: PipelineBackend) -> None:
    (image,) = backend.generate(["cat"], Sampling(steps=1, width=48, height=16))
    assert image.size == (48, 16)


@pytest.mark.parametrize("sampling", [Sampling(width=20), Sampling(height=-8), Sampling(steps=0)])
def test_impossible_sizes_and_steps_are_refused(
    backend: PipelineBackend, sampling: Sampling
) -> None:
    """Rather than drawn in another size than the recipe says."""
    with pytest.raises(SamplingError, match="use"):
        backend.generate(["cat"], sampling)


def test_files_and_versions_are_reported(backend: PipelineBackend, base_folder: Path) -> None:
    hashes = backend.file_hashes()
    assert "transformer/diffusion_pytorch_model.safetensors" in hashes
    assert len(hashes) == sum(path.is_file() for path in base_folder.rglob("*"))
    assert backend.versions()["torch"] == torch.__version__


def test_what_other_programs_put_into_its_folder_is_not_the_bases(tmp_path: Path) -> None:
    """git writes its index anew with every look, and a Mac its own file into each folder."""
    for name in ("vae/config.json", ".git/index", "vae/.DS_Store"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)

    assert hash_files(tmp_path, "*/*").keys() == {"vae/config.json"}


def test_folders_that_are_no_flux_base_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match="has no transformer/"):
        load_backend(tmp_path, BASE_MODEL)
    for part in ("transformer", "vae", "scheduler"):
        (tmp_path / part).mkdir()
    config = tmp_path / "transformer/config.json"
    config.write_text(json.dumps({"_class_name": "UNet2DConditionModel"}))
    with pytest.raises(BaseModelError, match="is a UNet2DConditionModel without"):
        load_backend(tmp_path, BASE_MODEL)
    (tmp_path / "model_index.json").write_text('{"_class_name": "CogVideoXPipeline"}')
    with pytest.raises(BaseModelError, match="is a CogVideoXPipeline; supported are FluxPipeline"):
        load_backend(tmp_path, BASE_MODEL)
    (tmp_path / "model_index.json").unlink()
    config.write_text(json.dumps({"_class_name": "FluxTransformer2DModel"}))
    with pytest.raises(BaseModelError, match="cannot be loaded"):
        load_backend(tmp_path, BASE_MODEL)
    config.write_text("{")
    with pytest.raises(BaseModelError, match=r"config\.json"):
        load_backend(tmp_path, BASE_MODEL)


def test_flux_with_its_own_text_encoders_is_drawn(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As FLUX.1-dev lies on disk; and loading it writes nothing to the terminal."""
    save_tiny_flux(tmp_path, torch.bfloat16)
    capfd.readouterr()
    backend = load_backend(tmp_path, "flux.1-dev")
    # By itself it draws a megapixel.
    small = Sampling(steps=2, guidance=1.0, width=64, height=64)
    weak, strong, other = (
        backend.generate([prompt], replace(small, guidance=guidance))[0].tobytes()
        for prompt, guidance in (("red", 1.0), ("red", 8.0), ("apple", 1.0))
    )
    assert capfd.readouterr() == ("", "")
    parts = (backend.transformer, backend._pipeline.vae, backend._pipeline.text_encoder_2)
    assert {p.dtype for part in parts for p in part.parameters()} == {torch.float32}
    assert len({weak, strong, other}) == 3
    weights = make_weights(backend.transformer, block_layers(backend.transformer), seed=1)
    with attach(backend.transformer, [(weights, 1.0)], mode="sum"):
        adapted = backend.generate(["red"], small)[0].tobytes()
    assert adapted != weak
    assert {"text_encoder/model.safetensors", "tokenizer_2/tokenizer.json"} <= set(
        backend.file_hashes()
    )
