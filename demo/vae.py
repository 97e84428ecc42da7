"""Train the miniature world's autoencoder: FLUX's kind and FLUX's factor of 8 each way.

A picture (3, 64, 64) becomes a latent (16, 8, 8), which FLUX packs to 16 tokens of 64.
The first steps see squares cut out of pictures, the last ones see whole pictures. A rerun resumes.
"""

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F

from demo.art import SIZE
from demo.concepts import Plan, plan
from demo.effects import COLOURS, PATTERNS, apply_effect, on_white
from demo.paths import BUILD
from demo.training import Checkpoint, descend, rate_factor, set_rate

FACTOR = 8  # pixels of a latent's side
CUT = 4  # latents of a cut square's side
CUTS, WHOLE = 64, 24
CUT_SHARE = 0.7
LEARNING_RATE = 2e-3
WARM_UP, FALL = 50, 0.6
# Small, so that pictures stay sharp; large enough that latents have no holes.
KL_WEIGHT = 2e-4
# Lines are few pixels: differences of neighbours count as much as the pixels.
EDGE_WEIGHT = 1.0


def make_vae() -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 48, 64),
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=8,
        sample_size=SIZE,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def to_tensor(pictures: npt.NDArray[np.uint8]) -> Tensor:
    """RGB uint8 (n, h, w, 3) -> float (n, 3, h, w) in [-1, 1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def visible_images(world: Plan) -> npt.NDArray[np.int64]:
    """Return the places (n,) of all pictures that are not withheld."""
    hidden = [image for image, _, _, _ in world.withheld]
    return np.setdiff1d(np.arange(len(world.art.name)), hidden)


def changed_pictures(rgba: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Draw pictures (n, h, w, 4) each under one effect; returns RGB uint8 (n, h, w, 3)."""
    options = [(k, p, c) for k, patterns in PATTERNS.items() for p in patterns for c in COLOURS]
    order = np.random.default_rng(0).permutation(len(rgba))
    changed = np.empty((*rgba.shape[:3], 3), np.uint8)
    for place, option in enumerate(options):
        part = order[place :: len(options)]
        changed[part] = apply_effect(*option, rgba[part])
    return changed


def training_pictures(world: Plan) -> npt.NDArray[np.uint8]:
    """Draw every picture that is not withheld, plain and then once under an effect."""
    rgba = world.art.rgba[visible_images(world)]
    return np.concatenate([on_white(rgba), changed_pictures(rgba)])


def random_corners(count: int) -> list[list[int]]:
    """Choose where squares are cut out, as places of latents (count, 2)."""
    return torch.randint(SIZE // FACTOR - CUT + 1, (count, 2)).tolist()


def cut(maps: Tensor, corners: list[list[int]], scale: int) -> Tensor:
    """Cut a square out of each of some maps (n, c, h, w) that have `scale` places a latent."""
    side = CUT * scale
    return torch.stack(
        [
            one[:, top * scale : top * scale + side, left * scale : left * scale + side]
            for one, (top, left) in zip(maps, corners, strict=True)
        ]
    )


def reconstruction_loss(decoded: Tensor, pictures: Tensor) -> Tensor:
    error = decoded - pictures
    edges = (error[..., 1:] - error[..., :-1]).abs().mean()
    edges = edges + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    return error.abs().mean() + 0.5 * error.square().mean() + EDGE_WEIGHT * edges / 2


def train(steps: int) -> None:
    """Train and save to `BUILD/base/vae`, with latents scaled to unit variance."""
    torch.manual_seed(0)
    pictures = training_pictures(plan())
    vae = make_vae().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    checkpoint = Checkpoint(BUILD / "base/vae.pt", {"vae": vae, "optimizer": optimizer})
    start = checkpoint.restore()
    learn(vae, optimizer, checkpoint, range(start, steps), partial(training_step, vae, pictures))
    vae.eval()
    with torch.no_grad():
        latents = torch.cat(
            [
                vae.encode(to_tensor(pictures[first : first + 256])).latent_dist.mean
                for first in range(0, len(pictures), 256)
            ]
        )
    vae.register_to_config(
        scaling_factor=float(1 / latents.std()), shift_factor=float(latents.mean())
    )
    vae.save_pretrained(BUILD / "base/vae")


def learn(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    checkpoint: Checkpoint,
    numbers: range,
    training_step: Callable[[bool], tuple[Tensor, float]],
) -> None:
    """Take the steps of these numbers, the first ones on squares and the last on whole pictures.

    `training_step` is told which, and gives the loss and how good pictures are in dB.
    """
    torch.manual_seed(numbers.start)
    for step in numbers:
        set_rate(optimizer, LEARNING_RATE * rate_factor(step, numbers.stop, WARM_UP, FALL))
        loss, quality = training_step(step >= CUT_SHARE * numbers.stop)
        descend(module, [optimizer], loss)
        if step % 50 == 49:
            print(f"step {step + 1}: PSNR {quality:.1f} dB", flush=True)
        if checkpoint.due() or step + 1 == numbers.stop:
            checkpoint.save(step + 1)


def training_step(
    vae: AutoencoderKL, pictures: npt.NDArray[np.uint8], whole: bool
) -> tuple[Tensor, float]:
    """Give the loss of some pictures or squares of them, and how well they come back in dB."""
    count = WHOLE if whole else CUTS
    batch = to_tensor(pictures[torch.randint(len(pictures), (count,)).numpy()])
    if not whole:
        batch = cut(batch, random_corners(count), FACTOR)
    posterior = vae.encode(batch.contiguous(memory_format=torch.channels_last)).latent_dist
    decoded = vae.decode(posterior.sample()).sample
    kl = posterior.kl().mean() / posterior.mean[0].numel()
    return reconstruction_loss(decoded, batch) + KL_WEIGHT * kl, psnr(decoded.detach(), batch)


def psnr(decoded: Tensor, pictures: Tensor) -> float:
    """Peak signal-to-noise ratio of pictures in [-1, 1], in dB."""
    return float(10 * torch.log10(4 / F.mse_loss(decoded, pictures)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1400)
    train(parser.parse_args().steps)
