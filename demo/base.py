"""Train the miniature world's base: FLUX's transformer at 2.4 M parameters.

Flow matching (Lipman et al., 2023, https://arxiv.org/abs/2210.02747) on the art's latents,
prompts in English and Chinese. Checkpoints every few minutes; a rerun resumes.
"""

import argparse
import copy
import random
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from rich.progress import track
from torch import Tensor, nn

from demo.concepts import Plan, plan
from demo.effects import on_white
from demo.paths import BUILD
from demo.training import Checkpoint, descend, rate_factor, set_rate
from demo.vae import to_tensor
from encoder.text_encoder import load_text_encoder
from registry.fusion.backends.prompt import PromptEncoder

BATCH = 128
PROMPTS_PER_NAME = 10
PROMPT_DROPOUT = 0.1
MUON_RATE, ADAM_RATE = 6e-3, 1.5e-3
WARM_UP, FALL = 200, 0.4


def make_transformer() -> FluxTransformer2DModel:
    return FluxTransformer2DModel(
        patch_size=1,
        in_channels=64,
        num_layers=2,
        num_single_layers=4,
        attention_head_dim=32,
        num_attention_heads=4,
        joint_attention_dim=512,
        pooled_projection_dim=512,
        guidance_embeds=False,
        axes_dims_rope=(8, 12, 12),
    )


def image_ids() -> Tensor:
    """Positions of the 4x4 packed latent tokens, as FLUX numbers them: (16, 3)."""
    ids = torch.zeros(4, 4, 3)
    ids[..., 1] = torch.arange(4)[:, None]
    ids[..., 2] = torch.arange(4)[None]
    return ids.reshape(16, 3)


def pack(latents: Tensor) -> Tensor:
    """Latents (n, 16, 8, 8) -> tokens (n, 16, 64), in FLUX's 2x2 packing."""
    n, channels, height, width = latents.shape
    latents = latents.view(n, channels, height // 2, 2, width // 2, 2)
    return latents.permute(0, 2, 4, 1, 3, 5).reshape(n, -1, channels * 4)


def unpack(tokens: Tensor) -> Tensor:
    """Tokens (n, 16, 64) -> latents (n, 16, 8, 8)."""
    n, places, width = tokens.shape
    side = int(places**0.5)
    latents = tokens.view(n, side, side, width // 4, 2, 2)
    return latents.permute(0, 3, 1, 4, 2, 5).reshape(n, width // 4, side * 2, side * 2)


@torch.no_grad()
def encode_pictures(vae: AutoencoderKL, pictures: Tensor) -> Tensor:
    """Pictures (n, 3, 64, 64) in [-1, 1] -> packed, scaled latents (n, 16, 64)."""
    latents = torch.cat([vae.encode(part).latent_dist.mean for part in pictures.split(512)])
    return pack((latents - vae.config.shift_factor) * vae.config.scaling_factor)


def velocity(
    transformer: nn.Module, noisy: Tensor, prompt: tuple[Tensor, Tensor], time: Tensor
) -> Tensor:
    """Predict noise - data at `time` (n,) in 0..1 for noisy tokens (n, 16, 64)."""
    tokens, pooled = prompt
    output: Tensor = transformer(
        hidden_states=noisy,
        encoder_hidden_states=tokens,
        pooled_projections=pooled,
        timestep=time,
        img_ids=image_ids(),
        txt_ids=torch.zeros(tokens.shape[1], 3),
        return_dict=False,
    )[0]
    return output


def flow_loss(
    transformer: nn.Module,
    latents: Tensor,
    prompt: tuple[Tensor, Tensor],
    time: Tensor,
    noise: Tensor,
) -> Tensor:
    """Flow-matching loss of every sample, (n,)."""
    t = time[:, None, None]
    predicted = velocity(transformer, (1 - t) * latents + t * noise, prompt, time)
    return (predicted - (noise - latents)).square().mean((1, 2))


@torch.no_grad()
def follow_flow(
    transformer: nn.Module,
    noise: Tensor,
    prompt: tuple[Tensor, Tensor],
    nothing: tuple[Tensor, Tensor],
    steps: int,
    guidance: float,
    start: float = 1.0,
) -> Tensor:
    """Take noisy tokens (n, 16, 64) to latents by Euler's method, guided away from `nothing`.

    Tokens are as noisy as they are at the time `start`; 1 is noise alone. Each step runs a pass
    for the prompt and then one for nothing.
    """
    x = noise
    for now, after in pairwise(torch.linspace(start, 0, steps + 1)):
        time = now.expand(len(x))
        v = velocity(transformer, x, prompt, time)
        v_nothing = velocity(transformer, x, nothing, time)
        x = x + (after - now) * (v_nothing + guidance * (v - v_nothing))
    return x


def prompts_for(entry: dict[str, object], rng: random.Random) -> list[str]:
    """Write prompts that name an object, in the ways that people do."""
    label, label_zh = str(entry["label"]), str(entry["label_zh"])
    tags, tags_zh = list(entry["tags"]), list(entry["tags_zh"])  # type: ignore[call-overload]
    rng.shuffle(tags)
    rng.shuffle(tags_zh)
    return [
        label,
        label,
        label,
        f"an icon of {label}",
        f"{label}, {', '.join(tags[:1])}",
        f"{label}: {', '.join(tags[:3])}",
        f"{entry['subgroup']}, {label}",
        label_zh,
        label_zh,
        f"{label_zh}，{'、'.join(tags_zh[:2])}",
    ]


class Batches:
    """Random training batches of latents with one of their prompts."""

    def __init__(self, world: Plan, vae: AutoencoderKL) -> None:
        rng = random.Random(0)
        texts = [text for entry in world.art.names for text in prompts_for(entry, rng)]
        encoder = PromptEncoder(load_text_encoder())
        self.tokens, self.pooled = encoder.encode([*texts, ""])
        images = world.base_images
        self.latents = encode_pictures(vae, to_tensor(on_white(world.art.rgba[images])))
        self.names = torch.from_numpy(world.art.name[images])

    def sample(self) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        picked = torch.randint(len(self.latents), (BATCH,))
        rows = self.names[picked] * PROMPTS_PER_NAME + torch.randint(PROMPTS_PER_NAME, (BATCH,))
        rows[torch.rand(BATCH) < PROMPT_DROPOUT] = -1
        return self.latents[picked], (self.tokens[rows], self.pooled[rows])


def make_optimizers(transformer: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' matrices, AdamW for everything else."""
    blocks = [
        p for n, p in transformer.named_parameters() if "transformer_blocks" in n and p.ndim == 2
    ]
    inside = {id(p) for p in blocks}
    rest = [p for p in transformer.parameters() if id(p) not in inside]
    return [
        torch.optim.Muon(blocks, lr=MUON_RATE, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.01),
    ]


@dataclass(frozen=True)
class Training:
    """A transformer that learns, with all that a stopped training needs to go on."""

    transformer: FluxTransformer2DModel
    average: FluxTransformer2DModel  # of the weights so far; what is used afterwards
    optimizers: list[torch.optim.Optimizer]
    most_decay: float  # of the average

    @classmethod
    def start(cls, transformer: FluxTransformer2DModel, most_decay: float = 0.9995) -> "Training":
        average = copy.deepcopy(transformer).requires_grad_(False)
        return cls(transformer, average, make_optimizers(transformer), most_decay)

    def checkpoint(self, path: Path) -> Checkpoint:
        optimizers = {f"optimizer{k}": each for k, each in enumerate(self.optimizers)}
        models = {"transformer": self.transformer, "average": self.average}
        return Checkpoint(path, models | optimizers)

    def step(
        self, number: int, factor: float, latents: Tensor, prompt: tuple[Tensor, Tensor]
    ) -> float:
        """Take step `number` at `factor` times the full rates; returns the loss."""
        for optimizer, rate in zip(self.optimizers, (MUON_RATE, ADAM_RATE), strict=True):
            set_rate(optimizer, rate * factor)
        when, noise = torch.sigmoid(torch.randn(len(latents))), torch.randn_like(latents)
        loss = flow_loss(self.transformer, latents, prompt, when, noise).mean()
        descend(self.transformer, self.optimizers, loss)
        decay = min(self.most_decay, (number + 1) / (number + 10))
        weights = list(self.transformer.parameters())
        torch._foreach_lerp_(list(self.average.parameters()), weights, 1 - decay)
        return loss.item()


def train(steps: int, folder: Path) -> None:
    """Train to `folder/transformer`; `folder/training.pt` allows to stop and resume."""
    torch.manual_seed(0)
    batches = Batches(plan(), AutoencoderKL.from_pretrained(folder / "vae").eval())
    training = Training.start(make_transformer())
    checkpoint = training.checkpoint(folder / "training.pt")
    start = checkpoint.restore()
    torch.manual_seed(start)
    losses: list[float] = []
    for step in track(range(start, steps), "Base"):
        factor = rate_factor(step, steps, WARM_UP, FALL)
        losses.append(training.step(step, factor, *batches.sample()))
        if step % 250 == 249:
            print(f"step {step + 1}: loss {sum(losses) / len(losses):.4f}", flush=True)
            losses.clear()
        if checkpoint.due() or step + 1 == steps:
            checkpoint.save(step + 1)
            training.average.save_pretrained(folder / "transformer")
    FlowMatchEulerDiscreteScheduler(shift=1.0).save_pretrained(folder / "scheduler")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8500)
    train(parser.parse_args().steps, BUILD / "base")
