"""Train the gates of the tiny base on the zoo, and write them where the demo finds them."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
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
STEPS, RATE = 800, 1e-2
VALIDATION_SETS, VALIDATE_EVERY = 16, 100


@dataclass
class Zoo:
    """Adapters of the zoo side by side, with the pictures and prompts they are about."""

    world: World
    concepts: list[Concept]  # of every adapter in the bank
    bank: AdapterBank
    _latents: dict[tuple[str, bool], Tensor] = field(default_factory=dict)
    _prompts: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @classmethod
    def load(cls, world: World, folder: Path, splits: Sequence[str]) -> "Zoo":
        """Read the adapters of some splits, as many as the zoo has so far."""
        listing = json.loads((folder / "listing.json").read_text())
        by_key = {concept.key: concept for concept in world.plan.concepts}
        entries = [entry for entry in listing if entry["_split"] in splits]
        # Half precision, as they lie on disk: hundreds of adapters stay in memory.
        bank = AdapterBank([read(folder / entry["file"]) for entry in entries], torch.float16)
        return cls(world, [by_key[entry["_key"]] for entry in entries], bank)

    def members(self, split: str) -> npt.NDArray[np.int64]:
        """Return the places in the bank of a split's adapters."""
        return np.array([k for k, c in enumerate(self.concepts) if c.split == split], np.int64)

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

    def batch(
        self, rng: np.random.Generator, among: npt.NDArray[np.int64], sets: int, size: int
    ) -> GateBatch:
        """Draw sets of adapters, and images of the first of each."""
        chosen = np.stack([rng.choice(among, size, replace=False) for _ in range(sets)])
        latents, prompts = [], []
        for first in chosen[:, 0].tolist():
            images = self.concepts[first].images
            picked = rng.integers(len(images), size=IMAGES).tolist()
            latents.append(self.latents(first)[picked])
            prompts += [self.prompts(first, images[k])[rng.integers(2)] for k in picked]
        return GateBatch(
            torch.cat(latents), *self.encode(prompts), image_ids(), torch.from_numpy(chosen)
        )


def zoo_training(zoo: Zoo, steps: int, rate: float) -> GateTraining:
    """Train on sets of the train split, validate on fixed ones of the validation split."""
    train, validation = zoo.members("train"), zoo.members("validation")
    sizes, shares = list(SET_SIZES), list(SET_SIZES.values())

    def batch(step: int) -> GateBatch:
        rng = np.random.default_rng(step)
        return zoo.batch(rng, train, SETS, int(rng.choice(sizes, p=shares)))

    rng = np.random.default_rng(1)
    held = [zoo.batch(rng, validation, VALIDATION_SETS, size) for size in sizes]
    return GateTraining(zoo.world.transformer, zoo.bank, batch, steps, rate, held, VALIDATE_EVERY)


def train(base: Path, zoo_folder: Path, output: Path, steps: int, rate: float) -> None:
    """Train to `output`; state is kept beside it, so a stopped run goes on."""
    zoo = Zoo.load(World.load(base), zoo_folder, ("train", "validation"))
    training = zoo_training(zoo, steps, rate)
    torch.manual_seed(0)
    gates = Gates.for_transformer(training.transformer, BASE_MODEL)
    state = output.with_suffix(".training.pt")
    bar = Progress(
        TextColumn("Gates"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} loss {task.fields[loss]:.4f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    with bar:
        task = bar.add_task("", total=steps, loss=float("nan"))
        curve = train_gates(
            gates, training, state, lambda done, loss: bar.update(task, completed=done, loss=loss)
        )
    for row in curve:
        print({name: round(value, 4) for name, value in row.items()})
    gates.details = {
        "steps": steps,
        "rate": rate,
        "adapters": len(zoo.members("train")),
        "set_sizes": {str(size): share for size, share in SET_SIZES.items()},
        "curve": curve,
    }
    gates.save(output)
    state.unlink(missing_ok=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, default=BUILD / "base")
    parser.add_argument("--zoo", type=Path, default=BUILD / "zoo")
    parser.add_argument("--output", type=Path, default=BUILD / "gates.safetensors")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--rate", type=float, default=RATE)
    # The layers are small: with other work on the machine, two threads waited for each
    # other and a step took 2 s instead of 0.4 s.
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train(arguments.base, arguments.zoo, arguments.output, arguments.steps, arguments.rate)
