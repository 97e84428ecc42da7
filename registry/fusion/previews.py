"""What an image seems to become, while it is drawn: seldom, small, and nearly for nothing."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from registry.fusion.latent_colours import LATENT_COLOURS, LatentColours
from registry.fusion.options import PreviewCallback

# A look is not taken more often, and not before so long: an image that is done by then needs none.
EVERY_SECONDS = 1.0
# Nor so often that looking takes more than this share of the time.
MOST_SHARE = 0.03
# The longer side of a preview, which is a few KB.
SIDE = 128
# A decoder with fewer parameters is used itself: the demo's has half a million, FLUX.1's 50.
TINY_DECODER = 2_000_000
# Some schedules begin with noise alone, which says nothing of the image.
LEAST_ALPHA = 1e-8

# Latents (channels, height, width) as the network knows them -> RGB (3, h, w), -1..1.
Painter = Callable[[Tensor], Tensor]


class Previewer:
    """Shows an image now and then while it is drawn."""

    def __init__(
        self,
        show: PreviewCallback,
        paint: Painter,
        token_rows: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Have `show` called with what `paint` makes of latents.

        Those that are packed into tokens have `token_rows` rows of them.
        """
        self._show, self._paint, self._token_rows = show, paint, token_rows
        self._clock = clock
        self._next = clock() + EVERY_SECONDS

    @contextmanager
    def watch(self, scheduler: Any) -> Iterator[None]:
        """Look at what a scheduler is given at each step, as long as this is open."""
        step, index = scheduler.step, 0

        # Pipelines look at the step's parameters, which are still seen through `wraps`.
        @wraps(step)
        def watched(output: Tensor, timestep: Any, sample: Tensor, *args: Any, **more: Any) -> Any:
            nonlocal index
            if self._clock() >= self._next:
                self._look(scheduler, output, timestep, sample, index)
            index += 1
            return step(output, timestep, sample, *args, **more)

        scheduler.step = watched
        try:
            yield
        finally:
            del scheduler.step

    @torch.no_grad()
    def _look(
        self, scheduler: Any, output: Tensor, timestep: Any, sample: Tensor, index: int
    ) -> None:
        started = self._clock()
        latents = denoised(scheduler, output[0].float(), timestep, sample[0].float(), index)
        self._show(to_picture(self._paint(as_grid(latents, self._token_rows))))
        ended = self._clock()
        self._next = ended + max(EVERY_SECONDS, (ended - started) / MOST_SHARE)


def is_known(scheduler: Any) -> bool:
    """Whether `denoised` knows what a scheduler's numbers mean."""
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        return True
    predictions = ("epsilon", "v_prediction", "sample")
    says = scheduler.config.get("prediction_type")
    return hasattr(scheduler, "alphas_cumprod") and says in predictions


def denoised(scheduler: Any, output: Tensor, timestep: Any, sample: Tensor, index: int) -> Tensor:
    """Return what a sample would be without its noise, by what the network says of it.

    `index` counts the steps. In flow matching the network says `noise - x`, of
    `(1 - sigma) x + sigma noise`; else it is told of `x + sigma noise` [1], or of that times
    `sqrt(alpha)`, and says what the scheduler's config names.

    - [1] Karras et al., 2022, https://arxiv.org/abs/2206.00364, table 1
    """
    alphas = getattr(scheduler, "alphas_cumprod", None)
    if alphas is None:
        share: Tensor = scheduler.sigmas[index]
        return sample - share * output
    if scheduler.init_noise_sigma == 1.0:
        # It keeps the variance: DDIM, PNDM and the like.
        alpha = max(float(alphas[int(timestep)]), LEAST_ALPHA)
        sample, sigma = sample / math.sqrt(alpha), math.sqrt((1 - alpha) / alpha)
    else:
        sigma = float(scheduler.sigmas[index])
    match scheduler.config.prediction_type:
        case "epsilon":
            return sample - sigma * output
        case "v_prediction":
            return sample / (1 + sigma**2) - output * sigma / math.sqrt(1 + sigma**2)
        case _:
            return output


def as_grid(latents: Tensor, token_rows: int) -> Tensor:
    """Return latents (channels, height, width), also of tokens (rows * columns, channels * 4).

    A token is a square of 2 x 2, as FLUX and Qwen-Image pack them.
    """
    if latents.ndim != 2:
        return latents
    squares: Tensor = latents.unflatten(0, (token_rows, -1)).unflatten(2, (-1, 2, 2))
    return squares.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)


def to_picture(rgb: Tensor) -> Image.Image:
    """Return RGB (3, h, w), -1..1, as a picture of `SIDE` pixels at most: one small transfer."""
    longer = max(rgb.shape[1:])
    if longer > SIDE:
        size = [max(1, round(side * SIDE / longer)) for side in rgb.shape[1:]]
        rgb = F.interpolate(rgb[None], size, mode="area")[0]
    # Latents that are not numbers are seen as black.
    levels = rgb.nan_to_num(-1).add(1).mul(127.5).round().clamp(0, 255)
    pixels: np.ndarray[Any, Any] = levels.to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(pixels)


def find_painter(vae: Any, kind: str) -> Painter | None:
    """Return what shows latents of a kind; None where nothing does at little cost.

    A decoder that is tiny shows them best; else the colours of latents do.
    """
    # One that waits elsewhere would drive the network off the device.
    is_here = not hasattr(vae, "_hf_hook")
    if is_here and isinstance(vae, AutoencoderKL) and _is_tiny(vae.decoder):
        return lambda latents: _decode(vae, latents)
    colours = LATENT_COLOURS.get(kind)
    # The base in a folder may have an autoencoder of its own.
    if colours is None or len(colours.channels) != _channels(vae):
        return None
    return lambda latents: paint(latents, colours)


def paint(latents: Tensor, colours: LatentColours) -> Tensor:
    """Map latents (channels, h, w) to RGB (3, h, w) by the colours of their channels."""
    channels = torch.tensor(colours.channels, device=latents.device)
    bias = torch.tensor(colours.bias, device=latents.device)
    return torch.einsum("chw,cr->rhw", latents, channels) + bias[:, None, None]


def _channels(vae: Any) -> int:
    """Return how many channels its latents have; videos' call them otherwise."""
    count: int = vae.config.get("latent_channels") or vae.config.z_dim
    return count


def _is_tiny(decoder: Any) -> bool:
    count: int = sum(weight.numel() for weight in decoder.parameters())
    return count < TINY_DECODER


def _decode(vae: Any, latents: Tensor) -> Tensor:
    scaled = latents / vae.config.scaling_factor + (vae.config.shift_factor or 0)
    picture: Tensor = vae.decode(scaled[None].to(vae.device, vae.dtype)).sample[0]
    return picture.float()
