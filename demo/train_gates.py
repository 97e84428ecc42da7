"""Train the gates of the tiny base on the zoo, and write them where the demo finds them."""

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from demo.base import image_ids
from demo.concepts import Concept
from demo.listing import BASE_MODEL
from demo.paths import BUILD
from demo.zoo import World
from encoder.lora_file import read
from registry.fusion.gate import Gates
from registry.fusion.inject import AdapterBank
from registry.fusion.train import SET_SIZES, GateBatch, GateTraining, train_gates

# Sets and images of each, in one step.
SETS, IMAGES = 6, 8
VALIDATION_SETS = 16


@dataclass
class Split:
    """The adapters of one split of the zoo, with the pictures they are about."""

    world: World
    concepts: list[Concept]
    bank: AdapterBank
    _latents: dict[tuple[str, bool], Tensor] = field(default_factory=dict)
    _prompts: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @classmethod
    def load(cls, world: World, zoo: Path, split: str) -> "Split":
        """Read all adapters of a split that the zoo has so far."""
        listing = json.loads((zoo / "listing.json").read_text())
        by_key = {concept.key: concept for concept in world.plan.concepts}
        entries = [entry for entry in listing if entry["_split"] == split]
        # Half precision, as they lie on disk: hundreds of adapters stay in memory.
        bank = AdapterBank([read(zoo / entry["file"]) for entry in entries], torch.float16)
        return cls(world, [by_key[entry["_key"]] for entry in entries], bank)

    def latents(self, adapter: int, *, unseen: bool = False) -> Tensor:
        """Latents of the pictures an adapter was trained on, or of those kept from it."""
        concept = self.concepts[adapter]
        key = (concept.key, unseen)
        if key not in self._latents:
            images = concept.unseen if unseen else concept.images
            self._latents[key] = self.world.latents(concept, images)
        return self._latents[key]

    def prompts(self, adapter: int, image: int) -> tuple[str, str]:
        """Two prompts for a picture: one that asks for the adapter, and a plainer one."""
        concept = self.concepts[adapter]
        if concept.kind == "object":
            return concept.trigger, concept.subject
        label = self.world.label(image)
        return f"{label}, {concept.trigger}", label

    def encode(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        unknown = sorted(set(prompts) - self._prompts.keys())
        tokens, pooled = self.world.prompts.encode(unknown)
        self._prompts |= {text: (tokens[k], pooled[k]) for k, text in enumerate(unknown)}
        known = [self._prompts[text] for text in prompts]
        return torch.stack([t for t, _ in known]), torch.stack([p for _, p in known])

    def batch(self, rng: np.random.Generator, sets: int, size: int) -> GateBatch:
        """Draw sets of adapters, and images of the first of each."""
        chosen = np.stack([rng.choice(len(self.bank), size, replace=False) for _ in range(sets)])
        latents, prompts = [], []
        for first in chosen[:, 0].tolist():
            images = self.concepts[first].images
            picked = rng.integers(len(images), size=IMAGES).tolist()
            latents.append(self.latents(first)[picked])
            prompts += [self.prompts(first, images[k])[rng.integers(2)] for k in picked]
        return GateBatch(
            torch.cat(latents), *self.encode(prompts), image_ids(), torch.from_numpy(chosen)
        )


def zoo_training(zoo: Path, base: Path, steps: int, rate: float) -> GateTraining:
    """Train on the train split; validate on sets of validation adapters."""
    world = World.load(base)
    train, validation = (Split.load(world, zoo, split) for split in ("train", "validation"))
    sizes, shares = list(SET_SIZES), list(SET_SIZES.values())

    def batch(step: int) -> GateBatch:
        rng = np.random.default_rng(step)
        return train.batch(rng, SETS, int(rng.choice(sizes, p=shares)))

    rng = np.random.default_rng(1)
    held = [validation.batch(rng, VALIDATION_SETS, size) for size in sizes]
    return GateTraining(world.transformer, train.bank, batch, steps, rate, held)
