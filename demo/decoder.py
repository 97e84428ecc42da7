"""Teach the autoencoder's decoder to draw what the base makes, not only what pictures become.

A base's latents are inexact, and a decoder that knows exact ones alone draws blots of them. So a
picture's latents are noised part of the way and drawn anew by the base under the picture's name
(SDEdit, https://arxiv.org/abs/2108.01073), and the decoder learns to give the picture. Neither
latents nor whatever was trained on them change. A rerun resumes.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKL
from rich.progress import track
from torch import Tensor

from crawler.whole_file import written_whole
from demo.base import encode_pictures, follow_flow, unpack
from demo.paths import BUILD
from demo.training import Checkpoint
from demo.vae import (
    CUTS,
    FACTOR,
    LEARNING_RATE,
    WHOLE,
    cut,
    learn,
    psnr,
    random_corners,
    reconstruction_loss,
    to_tensor,
    training_pictures,
    visible_images,
)
from demo.zoo import COVER_GUIDANCE, COVER_STEPS, World

# How far latents are noised before the base draws them anew, and how many are taken of each.
REDRAWN_FROM = (0.3, 0.5)
REDRAWN_SHARE = 0.75
# Most noise that is put on all latents, also on those of effects, which no base draws by name.
MOST_NOISE = 0.2
PART = 256


def redraw(world: World, latents: Tensor, prompt: tuple[Tensor, Tensor], start: float) -> Tensor:
    """Noise latents (n, 16, 64) up to the time `start`, and let the base draw from there."""
    nothing = torch.zeros_like(prompt[0]), torch.zeros_like(prompt[1])
    noisy = torch.lerp(latents, torch.randn_like(latents), start)
    steps = max(3, round(COVER_STEPS * start))
    return follow_flow(world.transformer, noisy, prompt, nothing, steps, COVER_GUIDANCE, start)


def redraw_all(world: World, images: npt.NDArray[np.int64], latents: Tensor, path: Path) -> Tensor:
    """Draw latents of images anew from each start, (starts, n, 16, 64); kept in `path`."""
    if path.exists():
        kept: Tensor = torch.load(path, weights_only=True)
        return kept
    names = world.plan.art.name[images]
    tokens, pooled = world.prompts.encode([str(name["label"]) for name in world.plan.art.names])
    drawn = torch.empty(len(REDRAWN_FROM), *latents.shape)
    for first in track(range(0, len(images), PART), "The base draws pictures anew"):
        part = slice(first, first + PART)
        prompt = tokens[names[part]], pooled[names[part]]
        for place, start in enumerate(REDRAWN_FROM):
            drawn[place, part] = redraw(world, latents[part], prompt, start)
    with written_whole(path) as partial:
        torch.save(drawn, partial)
    return drawn


class Batches:
    """Latents with the pictures that they are to become: exact, noisy, or drawn by the base."""

    def __init__(self, world: World, folder: Path) -> None:
        images = visible_images(world.plan)
        self.pictures = training_pictures(world.plan)
        self.exact = torch.cat(
            [
                encode_pictures(world.vae, to_tensor(self.pictures[first : first + PART]))
                for first in range(0, len(self.pictures), PART)
            ]
        )
        self.redrawn = redraw_all(world, images, self.exact[: len(images)], folder / "redrawn.pt")

    def sample(self, count: int) -> tuple[Tensor, Tensor]:
        """Return tokens (n, 16, 64) and pictures (n, 3, 64, 64)."""
        picked = torch.randint(len(self.pictures), (count,))
        tokens = self.exact[picked]
        by_base = (picked < self.redrawn.shape[1]) & (torch.rand(count) < REDRAWN_SHARE)
        start = torch.randint(len(self.redrawn), (int(by_base.sum()),))
        tokens[by_base] = self.redrawn[start, picked[by_base]]
        tokens += torch.randn_like(tokens) * MOST_NOISE * torch.rand(count, 1, 1)
        return tokens, to_tensor(self.pictures[picked.numpy()])


def train(steps: int, folder: Path) -> None:
    """Train the decoder of `folder/vae` in place; the encoder stays as it is."""
    torch.manual_seed(0)
    vae = AutoencoderKL.from_pretrained(folder / "vae").float()
    vae.to(memory_format=torch.channels_last)
    decoder = vae.decoder
    optimizer = torch.optim.AdamW(
        decoder.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0
    )
    checkpoint = Checkpoint(folder / "decoder.pt", {"decoder": decoder, "optimizer": optimizer})
    start = checkpoint.restore()
    if start < steps:
        batches = Batches(World.load(folder), folder)
        step = partial(training_step, vae, batches)
        learn(decoder, optimizer, checkpoint, range(start, steps), step)
    vae.save_pretrained(folder / "vae")


def training_step(vae: AutoencoderKL, batches: Batches, whole: bool) -> tuple[Tensor, float]:
    """Give the loss of some pictures or squares of them, and how well they are drawn in dB."""
    tokens, pictures = batches.sample(WHOLE if whole else CUTS)
    latents = unpack(tokens) / vae.config.scaling_factor + vae.config.shift_factor
    if not whole:
        corners = random_corners(len(latents))
        latents, pictures = cut(latents, corners, 1), cut(pictures, corners, FACTOR)
    drawn = vae.decoder(latents.contiguous(memory_format=torch.channels_last))
    return reconstruction_loss(drawn, pictures), psnr(drawn.detach(), pictures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--base", type=Path, default=BUILD / "base")
    arguments = parser.parse_args()
    train(arguments.steps, arguments.base)
