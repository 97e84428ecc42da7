"""Train the wide world's autoencoder: FLUX's factor of 8, so 64 pixels become 16 tokens.

A picture (3, 64, 64) becomes a latent (16, 8, 8). The first steps see crops, four for the
price of one picture; the last ones see whole pictures. `--decoder` goes on with the decoder
alone, which changes nothing for a base that was trained meanwhile.
"""

import argparse
from collections.abc import Iterator

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F

from demo.base import rate_factor
from demo.effects import COLOURS, PATTERNS, apply_effect, on_white
from demo.paths import BUILD
from demo.vae import to_tensor
from demo.world.art import SIZE, Art, load_art
from demo.world.checkpoint import Checkpoint
from demo.world.splits import base_pictures

FOLDER = BUILD / "vae"
CROPS, CROP, WHOLE = 64, 32, 16
CROP_SHARE = 0.6
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
        block_out_channels=(16, 32, 64, 96),
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=8,
        sample_size=SIZE,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


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


def crop(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """Cut a random square out of each picture."""
    corners = rng.integers(0, SIZE - CROP + 1, (len(pictures), 2)).tolist()
    return torch.stack(
        [
            picture[:, top : top + CROP, left : left + CROP]
            for picture, (top, left) in zip(pictures, corners, strict=True)
        ]
    )


def batches(start: int, steps: int, whole_only: bool) -> Iterator[Tensor]:
    """Yield the batches of steps `start` to `steps`."""
    art = load_art()
    visible = base_pictures(art)
    rng = np.random.default_rng(start)
    for step in range(start, steps):
        if step < CROP_SHARE * steps and not whole_only:
            yield crop(draw_batch(art, visible, CROPS, rng), rng)
        else:
            yield draw_batch(art, visible, WHOLE, rng)


def reconstruction_loss(decoded: Tensor, batch: Tensor) -> Tensor:
    error = decoded - batch
    edges = (error[..., 1:] - error[..., :-1]).abs().mean()
    edges = edges + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    return error.abs().mean() + 0.5 * error.square().mean() + EDGE_WEIGHT * edges / 2


def train(steps: int, decoder_only: bool) -> None:
    """Train to `vae/`; a rerun resumes."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    vae = make_vae()
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
    seen: list[float] = []
    for step, batch in enumerate(batches(start, steps, decoder_only), start):
        for group in optimizer.param_groups:
            group["lr"] = rate * rate_factor(step, steps)
        loss, mse, kl = training_step(vae, batch.contiguous(memory_format=torch.channels_last))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        seen.append(mse.item())
        if step % 50 == 49:
            quality = 10 * np.log10(4 * len(seen) / sum(seen))
            print(f"step {step + 1}: PSNR {quality:.2f} dB, KL {kl.item():.2f}", flush=True)
            seen.clear()
        if checkpoint.due() or step + 1 == steps:
            checkpoint.save(step + 1)
            vae.save_pretrained(FOLDER)
    if not decoder_only:
        measure_latents(vae)
    vae.save_pretrained(FOLDER)


def training_step(vae: AutoencoderKL, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give the loss, and the squared error and divergence for the log."""
    posterior = vae.encode(batch).latent_dist
    decoded = vae.decode(posterior.sample()).sample
    kl = posterior.kl().mean() / posterior.mean[0].numel()
    loss = reconstruction_loss(decoded, batch) + KL_WEIGHT * kl
    return loss, F.mse_loss(decoded.detach(), batch), kl.detach()


@torch.no_grad()
def measure_latents(vae: AutoencoderKL) -> None:
    """Set the scale and shift that give the art's latents unit variance."""
    art = load_art()
    some = np.random.default_rng(1).choice(base_pictures(art), 2048, replace=False)
    pictures = to_tensor(on_white(art.rgba[some]))
    latents = torch.cat([vae.encode(part).latent_dist.mean for part in pictures.split(128)])
    vae.register_to_config(
        scaling_factor=float(1 / latents.std()), shift_factor=float(latents.mean())
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--decoder", action="store_true", help="go on with the decoder alone")
    arguments = parser.parse_args()
    train(arguments.steps, arguments.decoder)
