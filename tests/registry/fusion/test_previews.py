"""What is shown of an image while it is drawn. test_pipelines.py does it in every family."""

import itertools
from typing import Any

import diffusers
import pytest
import torch
from PIL import Image

from encoder.base_models.facts import known_pipelines
from registry.fusion import previews
from registry.fusion.backends.base import Sampling
from registry.fusion.backends.pipeline import PipelineBackend
from registry.fusion.latent_colours import LATENT_COLOURS, LatentColours
from registry.fusion.previews import (
    SIDE,
    Previewer,
    as_grid,
    denoised,
    find_painter,
    is_known,
    paint,
    to_picture,
)

# diffusers' Euler sampler asks torch for an array in a way that NumPy gives up.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
STEPS = 4


def test_a_preview_changes_no_pixel(backend: PipelineBackend, draws_slowly: None) -> None:
    seen: list[Image.Image] = []
    sampling = Sampling(seed=3, steps=STEPS)

    (shown,) = backend.generate(["a fox"], sampling, None, seen.append)
    (unseen,) = backend.generate(["a fox"], sampling)

    assert shown.tobytes() == unseen.tobytes()
    assert [picture.size for picture in seen] == [backend.size] * STEPS


def test_what_the_last_step_is_shown_as_is_the_image(
    backend: PipelineBackend, draws_slowly: None
) -> None:
    """After it nothing is left of the noise, and the demo's own decoder paints."""
    seen: list[Image.Image] = []

    (image,) = backend.generate(["a fox"], Sampling(seed=3, steps=STEPS), None, seen.append)

    distances = [
        max(abs(a - b) for a, b in zip(picture.tobytes(), image.tobytes(), strict=True))
        for picture in seen
    ]
    assert distances[-1] <= 1
    assert distances[0] > 1


def test_looks_are_seldom_and_cost_a_small_share() -> None:
    """A look that takes a tenth of a second waits so long that it is 3 % of the time."""
    now = 0.0
    looked: list[float] = []

    def look(_: Image.Image) -> None:
        nonlocal now
        looked.append(now)
        now += 0.1

    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(1000)
    previewer = Previewer(look, lambda latents: latents, 1, clock=lambda: now)
    with previewer.watch(scheduler):
        for timestep in itertools.islice(scheduler.timesteps, 90):
            now += 0.1
            scheduler.step(torch.zeros(1, 3, 2, 2), timestep, torch.zeros(1, 3, 2, 2))

    assert looked[0] >= previews.EVERY_SECONDS
    gaps = [after - before for before, after in itertools.pairwise(looked)]
    assert len(gaps) >= 2
    assert min(gaps) >= 0.1 / previews.MOST_SHARE
    assert "step" not in vars(scheduler), "the scheduler is as it was"


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize(
    "kind", [diffusers.DDIMScheduler, diffusers.PNDMScheduler, diffusers.EulerDiscreteScheduler]
)
def test_what_is_below_the_noise_is_found(kind: Any, prediction: str) -> None:
    """A network that knows the picture says it by every scheduler's own words."""
    scheduler = kind(prediction_type=prediction)
    scheduler.set_timesteps(20)
    x, noise = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0)).unbind()
    place = 5
    timestep = scheduler.timesteps[place]
    if kind is diffusers.EulerDiscreteScheduler:
        sigma = scheduler.sigmas[place].double()
        alpha, sample = 1 / (1 + sigma**2), x + sigma * noise
    else:
        alpha = scheduler.alphas_cumprod[int(timestep)].double()
        sample = alpha.sqrt() * x + (1 - alpha).sqrt() * noise
    velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * x
    said = {"epsilon": noise, "v_prediction": velocity, "sample": x}[prediction]

    assert is_known(scheduler)
    torch.testing.assert_close(
        denoised(scheduler, said, timestep, sample, place).float(), x, atol=1e-4, rtol=1e-4
    )


def test_a_scheduler_with_other_words_shows_nothing() -> None:
    assert not is_known(diffusers.EDMEulerScheduler())
    assert not is_known(
        diffusers.DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True
        )
    )


@pytest.mark.parametrize("pack", [diffusers.FluxPipeline, diffusers.QwenImagePipeline])
def test_tokens_are_unpacked_as_the_pipelines_pack_them(pack: Any) -> None:
    latents = torch.randn(1, 16, 6, 8)

    packed = pack._pack_latents(latents, 1, 16, 6, 8)

    assert torch.equal(as_grid(packed[0], 3), latents[0])


def test_flux_2_packs_alike() -> None:
    latents = torch.randn(1, 32, 6, 8)

    squares = diffusers.Flux2KleinPipeline._patchify_latents(latents)
    packed = diffusers.Flux2KleinPipeline._pack_latents(squares)

    assert torch.equal(as_grid(packed[0], 3), latents[0])


def test_colours_are_those_of_the_channels() -> None:
    colours = LatentColours(((1.0, 0.0, 0.5), (0.0, -1.0, 0.0)), (0.0, 0.5, 0.0))

    rgb = paint(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), colours)

    torch.testing.assert_close(rgb, torch.tensor([[[1.0, 0.0]], [[0.5, -0.5]], [[0.5, 0.0]]]))


def test_every_base_that_draws_here_has_colours() -> None:
    """But the demo's, whose own decoder is tiny."""
    without = [known.name for known in known_pipelines() if known.latents not in LATENT_COLOURS]

    assert [known.latents for known in known_pipelines() if known.bare] == [""]
    assert len(without) == 1


def test_an_autoencoder_of_its_own_has_no_known_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews, "TINY_DECODER", 0)
    vae = diffusers.AutoencoderKL(latent_channels=4, norm_num_groups=8, block_out_channels=(8,))

    assert find_painter(vae, "flux.1") is None
    assert find_painter(vae, "") is None
    assert find_painter(vae, "sd") is not None


def test_a_preview_is_small_and_stays_a_picture() -> None:
    wide = to_picture(torch.randn(3, 90, 320))

    assert wide.size == (SIDE, 36)
    assert to_picture(torch.full((3, 2, 2), float("nan"))).tobytes() == bytes(12)
