"""Train the wide world's autoencoder: FLUX's factor of 8, so 64 pixels become 16 tokens.

A picture (3, 64, 64) becomes a latent (16, 8, 8): the same numbers as the shipped autoencoder
makes of 32 pixels. So this one starts from that one, with a level more at each end, and is held
near its latents: a transformer trained on those is a start for this world's base.

The first steps see crops, four for the price of one picture; the last ones see whole pictures.
`--decoder` goes on with the decoder alone, which changes nothing for a base trained meanwhile.
"""

import argparse
import re
from collections.abc import Iterator

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F

from demo.effects import COLOURS, PATTERNS, apply_effect, on_white
from demo.paths import BUILD, DATA
from demo.vae import to_tensor
from demo.world.art import SIZE, Art, load_art
from demo.world.checkpoint import Checkpoint
from demo.world.splits import base_pictures

FOLDER = BUILD / "vae"
CROPS, CROP, WHOLE = 64, 32, 16
CROP_SHARE = 0.6
# So many pictures a step are compared with the old latents.
COMPARED, LIKENESS_WEIGHT = 16, 0.1
EFFECT_SHARE = 0.25
LEARNING_RATE, DECODER_RATE = 2e-3, 6e-4
# Small, so that pictures stay sharp; large enough that latents have no holes.
KL_WEIGHT = 2e-4
# Thin lines are few pixels: differences of neighbours count as much as the pixels.
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


def rate_factor(step: int, steps: int) -> float:
    """Warm up, hold, then fall linearly to zero over the last 40 %."""
    return min(1.0, (step + 1) / 50, (steps - step) / (0.4 * steps))


def start_from(old: AutoencoderKL, vae: AutoencoderKL) -> None:
    """Copy a factor-4 autoencoder into the inner levels of one of factor 8."""
    state = vae.state_dict()
    for name, tensor in old.state_dict().items():
        inner = re.sub(
            r"encoder.down_blocks.(\d)", lambda m: f"encoder.down_blocks.{int(m[1]) + 1}", name
        )
        if inner in state and state[inner].shape == tensor.shape:
            state[inner] = tensor
    vae.load_state_dict(state)


def random_effect(rng: np.random.Generator) -> tuple[str, str, str]:
    kind = str(rng.choice(list(PATTERNS)))
    return kind, str(rng.choice(list(PATTERNS[kind]))), str(rng.choice(list(COLOURS)))


def draw_batch(art: Art, visible: np.ndarray, count: int, rng: np.random.Generator) -> Tensor:
    """Draw random pictures (n, 3, 64, 64), some of them under an effect."""
    rgba = art.rgba[rng.choice(visible, count)]
    changed = int(count * EFFECT_SHARE)
    pictures = [on_white(rgba[changed:])]
    pictures += [
        apply_effect(*random_effect(rng), part)
        for part in np.array_split(rgba[:changed], max(1, changed // 2))
    ]
    return to_tensor(np.concatenate(pictures))


def crop(pictures: Tensor, old_latents: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Cut a random square out of each picture, and its part of the latents."""
    corners = (8 * rng.integers(0, (SIZE - CROP) // 8 + 1, (len(pictures), 2))).tolist()
    cut = [
        picture[:, top : top + CROP, left : left + CROP]
        for picture, (top, left) in zip(pictures, corners, strict=True)
    ]
    side = CROP // 8
    cut_latents = [
        latent[:, top // 8 : top // 8 + side, left // 8 : left // 8 + side]
        for latent, (top, left) in zip(old_latents, corners, strict=False)
    ]
    return torch.stack(cut), torch.stack(cut_latents)


def batches(
    start: int, steps: int, old: AutoencoderKL, whole_only: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield pictures, and old latents of the first of them, for steps `start` to `steps`."""
    art = load_art()
    visible = base_pictures(art)
    rng = np.random.default_rng(start)
    for step in range(start, steps):
        crops = step < CROP_SHARE * steps and not whole_only
        pictures = draw_batch(art, visible, CROPS if crops else WHOLE, rng)
        pictures = pictures[torch.from_numpy(rng.permutation(len(pictures)))]
        with torch.no_grad():
            halved = F.avg_pool2d(pictures[:COMPARED], 2)
            latents = old.encode(halved).latent_dist.mean
        yield crop(pictures, latents, rng) if crops else (pictures, latents)


def reconstruction_loss(decoded: Tensor, batch: Tensor) -> Tensor:
    error = decoded - batch
    edges = (error[..., 1:] - error[..., :-1]).abs().mean()
    edges = edges + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    return error.abs().mean() + 0.5 * error.square().mean() + EDGE_WEIGHT * edges / 2


def train(steps: int, decoder_only: bool) -> None:
    """Train to `vae/`; a rerun resumes."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    vae, old = make_vae(), AutoencoderKL.from_pretrained(DATA / "base/vae").eval()
    start_from(old, vae)
    vae.register_to_config(
        scaling_factor=old.config.scaling_factor, shift_factor=old.config.shift_factor
    )
    if decoder_only:
        vae.load_state_dict(AutoencoderKL.from_pretrained(FOLDER).state_dict())
        vae.encoder.requires_grad_(False)
    vae.to(memory_format=torch.channels_last)
    rate = DECODER_RATE if decoder_only else LEARNING_RATE
    trained = [p for p in vae.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)
    name = "decoder.pt" if decoder_only else "training.pt"
    checkpoint = Checkpoint(FOLDER / name, {"vae": vae, "optimizer": optimizer})
    start = checkpoint.restore()
    if start >= steps:
        return
    seen: list[float] = []
    for step, batch in enumerate(batches(start, steps, old, decoder_only), start):
        for group in optimizer.param_groups:
            group["lr"] = rate * rate_factor(step, steps)
        loss, mse, unlike = training_step(vae, *batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        seen.append(mse.item())
        if step % 50 == 49:
            quality = 10 * np.log10(4 * len(seen) / sum(seen))
            print(f"step {step + 1}: PSNR {quality:.2f} dB, unlike {unlike:.3f}", flush=True)
            seen.clear()
        if checkpoint.due() or step + 1 == steps:
            checkpoint.save(step + 1)
            vae.save_pretrained(FOLDER)


def training_step(
    vae: AutoencoderKL, pictures: Tensor, old_latents: Tensor
) -> tuple[Tensor, Tensor, float]:
    """Give the loss; for the log, the squared error and how unlike the old latents are."""
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    posterior = vae.encode(pictures).latent_dist
    decoded = vae.decode(posterior.sample()).sample
    kl = posterior.kl().mean() / posterior.mean[0].numel()
    unlike = F.mse_loss(posterior.mean[: len(old_latents)], old_latents)
    loss = reconstruction_loss(decoded, pictures) + KL_WEIGHT * kl + LIKENESS_WEIGHT * unlike
    return loss, F.mse_loss(decoded.detach(), pictures), unlike.item()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--decoder", action="store_true", help="go on with the decoder alone")
    arguments = parser.parse_args()
    train(arguments.steps, arguments.decoder)
