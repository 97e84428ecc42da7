"""Train the wide world's autoencoder: the shipped one, going on with this world's pictures.

It is held near the shipped one's latents: a transformer trained on those is a start for this
world's base.

The first steps see squares cut out of pictures, the last ones see whole pictures.
`--decoder` goes on with the decoder alone, which changes nothing for a base trained meanwhile.
"""

import argparse
from collections.abc import Iterator

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F

from demo.effects import COLOURS, PATTERNS, apply_effect, on_white
from demo.paths import BUILD, DATA
from demo.training import Checkpoint, descend, rate_factor, set_rate
from demo.vae import FACTOR, KL_WEIGHT, cut, random_corners, reconstruction_loss, to_tensor
from demo.world.art import Art, load_art
from demo.world.splits import base_pictures

FOLDER = BUILD / "vae"
CUTS, WHOLE = 64, 16
CUT_SHARE = 0.6
# So many pictures a step are compared with the shipped one's latents.
COMPARED, LIKENESS_WEIGHT = 16, 0.1
EFFECT_SHARE = 0.25
LEARNING_RATE, DECODER_RATE = 2e-3, 6e-4
WARM_UP, FALL = 50, 0.4


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


def batches(
    start: int, steps: int, shipped: AutoencoderKL, whole_only: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield pictures and the first ones' shipped latents, for steps `start` to `steps`."""
    art = load_art()
    visible = base_pictures(art)
    rng = np.random.default_rng(start)
    for step in range(start, steps):
        whole = whole_only or step >= CUT_SHARE * steps
        pictures = draw_batch(art, visible, WHOLE if whole else CUTS, rng)
        pictures = pictures[torch.from_numpy(rng.permutation(len(pictures)))]
        with torch.no_grad():
            latents = shipped.encode(pictures[:COMPARED]).latent_dist.mean
        if not whole:
            corners = random_corners(len(pictures))
            pictures, latents = cut(pictures, corners, FACTOR), cut(latents, corners[:COMPARED], 1)
        yield pictures, latents


def train(steps: int, decoder_only: bool) -> None:
    """Train to `vae/`; a rerun resumes."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    shipped = AutoencoderKL.from_pretrained(DATA / "base/vae").float().eval()
    vae = AutoencoderKL.from_pretrained(FOLDER if decoder_only else DATA / "base/vae").float()
    if decoder_only:
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
    torch.manual_seed(start)
    seen: list[float] = []
    for step, batch in enumerate(batches(start, steps, shipped, decoder_only), start):
        set_rate(optimizer, rate * rate_factor(step, steps, WARM_UP, FALL))
        loss, mse, unlike = training_step(vae, *batch)
        descend(vae, [optimizer], loss)
        seen.append(mse.item())
        if step % 50 == 49:
            quality = 10 * np.log10(4 * len(seen) / sum(seen))
            print(f"step {step + 1}: PSNR {quality:.2f} dB, unlike {unlike:.3f}", flush=True)
            seen.clear()
        if checkpoint.due() or step + 1 == steps:
            checkpoint.save(step + 1)
            vae.save_pretrained(FOLDER)


def training_step(
    vae: AutoencoderKL, pictures: Tensor, shipped_latents: Tensor
) -> tuple[Tensor, Tensor, float]:
    """Give the loss; for the log, the squared error and how unlike the shipped latents are."""
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    posterior = vae.encode(pictures).latent_dist
    decoded = vae.decode(posterior.sample()).sample
    kl = posterior.kl().mean() / posterior.mean[0].numel()
    unlike = F.mse_loss(posterior.mean[: len(shipped_latents)], shipped_latents)
    loss = reconstruction_loss(decoded, pictures) + KL_WEIGHT * kl + LIKENESS_WEIGHT * unlike
    return loss, F.mse_loss(decoded.detach(), pictures), unlike.item()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--decoder", action="store_true", help="go on with the decoder alone")
    arguments = parser.parse_args()
    train(arguments.steps, arguments.decoder)
