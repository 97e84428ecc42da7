"""Train the miniature world's autoencoder: FLUX's kind, four times smaller each way.

A picture (3, 32, 32) becomes a latent (16, 8, 8), which FLUX packs to 16 tokens of 64.
"""

import argparse

import torch
from diffusers import AutoencoderKL
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F

from demo.concepts import Plan, plan
from demo.effects import COLOURS, PATTERNS, apply_effect, on_white
from demo.paths import BUILD

BATCH = 96
LEARNING_RATE = 2e-3
# Small, so that pictures stay sharp; large enough that latents have no holes.
KL_WEIGHT = 2e-4


def make_vae() -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 48, 64),
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=8,
        sample_size=32,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def to_tensor(pictures) -> Tensor:  # type: ignore[no-untyped-def]
    """RGB uint8 (n, h, w, 3) -> float (n, 3, h, w) in [-1, 1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def training_pictures(world: Plan) -> Tensor:
    """Every picture that is not withheld, plain and once under a random effect."""
    hidden = {image for image, _, _, _ in world.withheld}
    visible = [i for i in range(len(world.art.name)) if i not in hidden]
    generator = torch.Generator().manual_seed(0)
    options = [(k, p, c) for k, patterns in PATTERNS.items() for p in patterns for c in COLOURS]
    plain = to_tensor(on_white(world.art.rgba[visible]))
    order = torch.randperm(len(visible), generator=generator).tolist()
    changed = [
        apply_effect(*option, world.art.rgba[[visible[i] for i in order[k :: len(options)]]])
        for k, option in enumerate(options)
    ]
    return torch.cat([plain, *map(to_tensor, changed)])


def train(steps: int) -> None:
    """Train and save to `BUILD/base/vae`, with latents scaled to unit variance."""
    torch.manual_seed(0)
    pictures = training_pictures(plan())
    vae = make_vae().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, steps)
    for step in track(range(steps), "Autoencoder"):
        batch = pictures[torch.randint(len(pictures), (BATCH,))]
        posterior = vae.encode(batch).latent_dist
        decoded = vae.decode(posterior.sample()).sample
        error = F.l1_loss(decoded, batch) + 0.5 * F.mse_loss(decoded, batch)
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        loss = error + KL_WEIGHT * kl
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            mse = F.mse_loss(decoded.detach(), batch)
            print(f"step {step}: PSNR {10 * torch.log10(4 / mse):.1f} dB, KL {kl:.2f}", flush=True)
    vae.eval()
    with torch.no_grad():
        latents = torch.cat([vae.encode(p).latent_dist.mean for p in pictures.split(512)])
    vae.register_to_config(
        scaling_factor=float(1 / latents.std()), shift_factor=float(latents.mean())
    )
    vae.save_pretrained(BUILD / "base/vae")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1400)
    train(parser.parse_args().steps)
