"""Train the zoo: every planned concept becomes an adapter with covers and a hub listing.

Sixteen adapters train in one forward pass: their low-rank products are batched matmuls
over one frozen base, so gradients stay independent and the base runs once.
A group is written at once and skipped by a rerun, so the work can be stopped anywhere. Several
processes may work side by side.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from crawler.whole_file import written_whole
from demo.art import SIZE
from demo.base import encode_pictures, flow_loss, follow_flow, unpack
from demo.concepts import Concept, Plan, plan
from demo.layers import block_layers, hooked
from demo.listing import licence_of, listing_entry, safetensors_metadata
from demo.paths import BUILD
from demo.side_by_side import claimed, join
from demo.training import set_rate
from demo.vae import to_tensor
from encoder.text_encoder import load_text_encoder
from registry.fusion.backends.prompt import PromptEncoder

GROUP = 16
STEPS, BATCH, RATE = 80, 8, 5e-3
# Rank of a whole group, in turn; community files differ in rank as well.
RANKS = (4, 2, 4, 3)
COVERS, COVER_STEPS, COVER_GUIDANCE = 3, 14, 2.0
COVER_QUALITY = 96
# Says nothing of the object: an object adapter has to know it by itself.
BARE_PROMPT = "an icon"
EVALUATION_TIMES = (0.15, 0.3, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95)


@dataclass
class World:
    """What every group needs, loaded once."""

    plan: Plan
    transformer: FluxTransformer2DModel
    vae: AutoencoderKL
    prompts: PromptEncoder

    @classmethod
    def load(cls, folder: Path = BUILD / "base") -> "World":
        transformer = FluxTransformer2DModel.from_pretrained(folder / "transformer")
        vae = AutoencoderKL.from_pretrained(folder / "vae")
        return cls(
            plan(),
            transformer.eval().requires_grad_(False),
            vae.eval().requires_grad_(False),
            PromptEncoder(load_text_encoder()),
        )

    def latents(self, concept: Concept, images: tuple[int, ...]) -> Tensor:
        return encode_pictures(self.vae, to_tensor(self.plan.pictures(concept, images)))

    def lesson(self, concept: Concept) -> "Lesson":
        latents = self.latents(concept, concept.images)
        return Lesson(self.prompts, latents, training_prompts(self, concept))

    def label(self, image: int) -> str:
        return str(self.plan.art.names[int(self.plan.art.name[image])]["label"])


class AdapterGroup:
    """Adapters of one rank on all linear layers of the blocks, run side by side.

    Sample b of a batch belongs to adapter b // (batch / group).
    """

    def __init__(self, transformer: nn.Module, rank: int, seeds: list[int]) -> None:
        self.layers = block_layers(transformer)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.down: dict[str, Tensor] = {}  # (group, rank, d_in)
        self.up: dict[str, Tensor] = {}  # (group, d_out, rank)
        for name, layer in self.layers.items():
            # PEFT's own start: A uniform (kaiming, a = sqrt 5), B zero.
            bound = 1 / math.sqrt(layer.in_features)
            a = [
                (torch.rand(rank, layer.in_features, generator=g) * 2 - 1) * bound
                for g in generators
            ]
            self.down[name] = torch.stack(a).requires_grad_(True)
            self.up[name] = torch.zeros(len(seeds), layer.out_features, rank).requires_grad_(True)

    def parameters(self) -> list[Tensor]:
        return [*self.down.values(), *self.up.values()]

    def attached(self) -> AbstractContextManager[None]:
        """Add the adapters' outputs to the layers' while inside."""
        return hooked(self.layers, self._add)

    def _add(self, name: str, inputs: Tensor, output: Tensor) -> Tensor:
        down, up = self.down[name], self.up[name]
        grouped = inputs.reshape(len(down), -1, down.shape[-1])
        delta = torch.bmm(torch.bmm(grouped, down.mT), up.mT)
        return output + delta.reshape(output.shape)

    def state_dict(self, index: int) -> dict[str, Tensor]:
        """One adapter under diffusers' names, float32."""
        state = {}
        for name in self.layers:
            state[f"transformer.{name}.lora_A.weight"] = self.down[name][index].detach()
            state[f"transformer.{name}.lora_B.weight"] = self.up[name][index].detach()
        return state


def training_prompts(world: World, concept: Concept) -> list[list[str]]:
    """Prompts of every training picture; each step draws one."""
    if concept.kind == "object":
        return [[BARE_PROMPT, BARE_PROMPT, concept.trigger, concept.subject]] * len(concept.images)
    labels = [world.label(image) for image in concept.images]
    return [[label, label, f"{label}, {concept.trigger}"] for label in labels]


class Lesson:
    """A concept's pictures and prompts as tensors."""

    def __init__(self, encoder: PromptEncoder, latents: Tensor, prompts: list[list[str]]) -> None:
        """`prompts` are those of each picture, as many of every one."""
        self.latents = latents
        self.choices = len(prompts[0])
        self.tokens, self.pooled = encoder.encode([p for group in prompts for p in group])

    def sample(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draw pictures, each with one of its prompts."""
        picked = torch.from_numpy(rng.integers(len(self.latents), size=count))
        rows = picked * self.choices + torch.from_numpy(rng.integers(self.choices, size=count))
        return self.latents[picked], self.tokens[rows], self.pooled[rows]


def sample_all(
    lessons: Sequence[Lesson], rng: np.random.Generator, count: int
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Draw so many pictures of each lesson, one after the other, with their prompts."""
    drawn = [lesson.sample(rng, count) for lesson in lessons]
    latents, tokens, pooled = (torch.cat(parts) for parts in zip(*drawn, strict=True))
    return latents, (tokens, pooled)


def train_group(
    world: World, concepts: list[Concept], rank: int, seed: int, batch: int = BATCH
) -> AdapterGroup:
    """Train an adapter for each concept, on `batch` of its pictures a step."""
    group = AdapterGroup(world.transformer, rank, [seed + k for k in range(len(concepts))])
    lessons = [world.lesson(concept) for concept in concepts]
    optimizer = torch.optim.AdamW(group.parameters(), RATE, betas=(0.9, 0.99), weight_decay=0.0)
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    with group.attached():
        for step in range(STEPS):
            set_rate(optimizer, RATE * min(1, (step + 1) / 10) * (1 - 0.9 * step / STEPS))
            latents, prompt = sample_all(lessons, rng, batch)
            when, noise = torch.sigmoid(torch.randn(len(latents))), torch.randn_like(latents)
            losses = flow_loss(world.transformer, latents, prompt, when, noise)
            descend_each(group.parameters(), optimizer, losses.view(len(concepts), batch))
    return group


def descend_each(
    parameters: list[Tensor], optimizer: torch.optim.Optimizer, losses: Tensor
) -> None:
    """Take one step down the losses (adapters, samples)."""
    optimizer.zero_grad()
    # A sum over adapters: each one's gradient is as if it trained alone.
    losses.mean(1).sum().backward()
    clip_each(parameters)
    optimizer.step()


def clip_each(parameters: list[Tensor]) -> None:
    """Clip every adapter's own gradient norm to 1."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.sqrt(torch.stack([g.square().flatten(1).sum(1) for g in gradients]).sum(0))
    factor = (1 / (norm + 1e-6)).clamp(max=1)
    for gradient in gradients:
        gradient *= factor[:, None, None]


@torch.no_grad()
def losses_on(
    world: World, group: AdapterGroup | None, concepts: list[Concept], unseen: bool
) -> list[float]:
    """Flow loss of every concept on its own or unseen pictures, at fixed times and noise."""
    latents, prompts = [], []
    for concept in concepts:
        images = concept.unseen if unseen else concept.images
        picked = (list(images) * 8)[: len(EVALUATION_TIMES)]
        latents.append(world.latents(concept, tuple(picked)))
        is_object = concept.kind == "object"
        prompts += [BARE_PROMPT if is_object else world.label(image) for image in picked]
    batch = torch.cat(latents)
    when = torch.tensor(EVALUATION_TIMES).repeat(len(concepts))
    noise = torch.randn(latents[0].shape, generator=torch.Generator().manual_seed(99))
    noise = noise.repeat(len(concepts), 1, 1)
    prompt = world.prompts.encode(prompts)
    if group is None:
        losses = flow_loss(world.transformer, batch, prompt, when, noise)
    else:
        with group.attached():
            losses = flow_loss(world.transformer, batch, prompt, when, noise)
    return losses.view(len(concepts), -1).mean(1).tolist()


@torch.no_grad()
def draw(world: World, prompts: list[str], seed: int, group: AdapterGroup | None) -> Tensor:
    """Draw pictures uint8 (n, 64, 64, 3); with a group, n / group of each adapter."""
    tokens, pooled = world.prompts.encode(prompts)
    x = torch.randn(len(prompts), 16, 64, generator=torch.Generator().manual_seed(seed))
    nothing = torch.zeros_like(tokens), torch.zeros_like(pooled)
    with group.attached() if group else nullcontext():
        x = follow_flow(
            world.transformer, x, (tokens, pooled), nothing, COVER_STEPS, COVER_GUIDANCE
        )
    return decode_pictures(world.vae, x)


def decode_pictures(vae: AutoencoderKL, tokens: Tensor) -> Tensor:
    """Packed latents (n, 16, 64) -> pictures uint8 (n, 64, 64, 3)."""
    latents = unpack(tokens) / vae.config.scaling_factor + vae.config.shift_factor
    pictures: Tensor = vae.decode(latents).sample.clamp(-1, 1)
    return ((pictures + 1) * 127.5).round().byte().permute(0, 2, 3, 1)


def cover_prompts(world: World, concept: Concept) -> list[str]:
    if concept.kind == "object":
        return [concept.subject, concept.trigger, BARE_PROMPT]
    return [f"{world.label(image)}, {concept.trigger}" for image in concept.images[:COVERS]]


def write_group(
    world: World, concepts: list[Concept], group: AdapterGroup, seed: int, folder: Path
) -> None:
    """Write adapters and covers, then the group's part of the listing, last and at once."""
    base, own = losses_on(world, None, concepts, False), losses_on(world, group, concepts, False)
    unseen_base = losses_on(world, None, concepts, True)
    unseen = losses_on(world, group, concepts, True)
    prompts = [prompt for concept in concepts for prompt in cover_prompts(world, concept)]
    covers = draw(world, prompts, seed, group).view(len(concepts), COVERS, SIZE, SIZE, 3)
    entries = []
    for k, concept in enumerate(concepts):
        number = seed + k
        stem = f"{number:04d}"
        scale, metadata = safetensors_metadata(
            concept, number, next(iter(group.down.values())).shape[1]
        )
        state = group.state_dict(k)
        state = {
            key: (value / scale if ".lora_B." in key else value).half().contiguous()
            for key, value in state.items()
        }
        save_file(state, folder / f"adapters/{stem}.safetensors", metadata)
        for place in range(COVERS):
            picture = Image.fromarray(covers[k, place].numpy())
            picture.save(folder / f"covers/{stem}-{place}.webp", quality=COVER_QUALITY)
        others = [c for c in world.plan.concepts if c.key != concept.key]
        entry = listing_entry(concept, number, others, licence_of(concept))
        entry["_losses"] = {
            "base": base[k],
            "own": own[k],
            "unseen_base": unseen_base[k],
            "unseen": unseen[k],
        }
        entries.append(entry)
    path = folder / f"groups/{seed:04d}.json"
    with written_whole(path) as partial:
        partial.write_text(json.dumps(entries, ensure_ascii=False, indent=1))


def train_zoo(folder: Path, limit: int | None) -> None:
    """Train the groups that are not there yet and that no other process is at."""
    for part in ("adapters", "covers", "groups"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    world = World.load()
    order = np.random.default_rng(7).permutation(len(world.plan.concepts))
    concepts = [world.plan.concepts[k] for k in order][:limit]
    starts = range(0, len(concepts), GROUP)
    for turn, start in enumerate(starts):
        with claimed(folder / f"groups/{start:04d}.json") as free:
            if not free:
                continue
            began = time.monotonic()
            members = concepts[start : start + GROUP]
            group = train_group(world, members, RANKS[turn % len(RANKS)], start)
            write_group(world, members, group, start, folder)
        join_groups(folder, "listing.json")
        print(f"group {turn + 1} of {len(starts)}: {time.monotonic() - began:.0f} s", flush=True)
    # Whoever was killed between its last group and the listing left that group out.
    join_groups(folder, "listing.json")


def join_groups(folder: Path, name: str) -> None:
    """Write one JSON list from the groups that are complete, atomically."""

    def joined(texts: list[str]) -> str:
        entries = [entry for text in texts for entry in json.loads(text)]
        return json.dumps(entries, ensure_ascii=False, indent=1)

    join(folder / "groups", "*.json", folder / name, joined)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=BUILD / "zoo")
    parser.add_argument("--limit", type=int, help="stop after this many adapters")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    train_zoo(arguments.folder, arguments.limit)
