"""Train the gates of the tiny base on the zoo, and write them where the demo finds them.

Rival gates learn from two things in turn: sets of adapters with a picture of the first of them,
seen or unseen; and an object adapter with a style adapter on a picture that is both and that
neither has seen: the cells withheld for tuning. On cells that an adapter has memorised, gates
learn to trust it too much: trained on those, composition ended below the average's.
AutoLoRA's gates are trained its way, on the pictures of one adapter of a set.
"""

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

from demo.base import encode_pictures, image_ids
from demo.concepts import Concept
from demo.effects import on_white
from demo.listing import BASE_MODEL
from demo.paths import BUILD
from demo.relevance import Relevance
from demo.vae import to_tensor
from demo.zoo import World
from encoder.lora_file import read
from registry.fusion.gate import Gates
from registry.fusion.inject import AdapterBank
from registry.fusion.rivals import RivalGates
from registry.fusion.train import (
    SET_SIZES,
    GateBatch,
    GateTraining,
    TrainableGates,
    train_gates,
)

# Sets and images of each, in one step; and the same of rivals.
SETS, IMAGES = 6, 8
RIVAL_SETS, RIVAL_IMAGES = 12, 4
# Of steps on sets of any two or three, the others being on cells; of their pictures, unseen.
CELLS_SHARE, UNSEEN_SHARE = 0.6, 0.5
RIVAL_SIZES = {2: 0.6, 3: 0.4}
# By kind: steps, and rate.
SCHEDULES = {"autolora": (800, 1e-2), "rivals": (100, 6e-2)}
VALIDATION_SETS = 16
# Of the cells for tuning, so many are kept for the validation curve.
CELLS_KEPT = 10


@dataclass
class Zoo:
    """Adapters of the zoo side by side, with the pictures and prompts they are about."""

    world: World
    concepts: list[Concept]  # of every adapter in the bank
    bank: AdapterBank
    relevance: Relevance
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
        concepts = [by_key[entry["_key"]] for entry in entries]
        return cls(world, concepts, bank, Relevance.load(world.prompts.text_encoder))

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
        self,
        rng: np.random.Generator,
        among: npt.NDArray[np.int64],
        sets: tuple[int, int],
        size: int,
        unseen_share: float = 0.0,
        plain_share: float = 0.5,
    ) -> GateBatch:
        """Draw `sets` (how many, images of each) of adapters, with images of the first of each.

        A share of the images is of those kept from the adapter, and a share of the prompts does
        not ask for it.
        """
        count, each = sets
        chosen = np.stack([rng.choice(among, size, replace=False) for _ in range(count)])
        latents, prompts = [], []
        for first in chosen[:, 0].tolist():
            unseen = bool(rng.random() < unseen_share)
            images = self.concepts[first].unseen if unseen else self.concepts[first].images
            picked = rng.integers(len(images), size=each).tolist()
            latents.append(self.latents(first, unseen=unseen)[picked])
            plain = (rng.random(each) < plain_share).tolist()
            prompts += [
                self.prompts(first, images[k])[is_plain]
                for k, is_plain in zip(picked, plain, strict=True)
            ]
        return self.gate_batch(torch.cat(latents), prompts, torch.from_numpy(chosen))

    def gate_batch(
        self, latents: Tensor, prompts: list[str], sets: Tensor, name: str | None = None
    ) -> GateBatch:
        """Join images (B, ...), their prompts and the sets (G, n) that they belong to."""
        return GateBatch(
            latents,
            *self.encode(prompts),
            image_ids(),
            sets,
            self.relevance_of(prompts, sets),
            name,
        )

    def relevance_of(self, prompts: list[str], sets: Tensor) -> Tensor:
        """Return how near prompts are to the adapters of their sets (G, n): (prompts, n)."""
        each = len(prompts) // len(sets)
        keys = [[self.concepts[k].key for k in own] for own in sets.tolist() for _ in range(each)]
        return self.relevance.of(prompts, keys)


@dataclass(frozen=True)
class Cell:
    """A withheld picture of an object in a style, with the two adapters, in that order."""

    image: int
    adapters: tuple[int, int]
    latents: Tensor  # (places, channels)
    prompt: str


def withheld_cells(zoo: Zoo, split: str) -> list[Cell]:
    """Return the withheld cells whose two adapters are there."""
    place = {concept.key: k for k, concept in enumerate(zoo.concepts)}
    world, cells = zoo.world, []
    for image, object_key, style_key, its_split in world.plan.withheld:
        if its_split != split or not {object_key, style_key} <= place.keys():
            continue
        picture = to_tensor(on_white(world.plan.art.rgba[[image]]))
        pair = (place[object_key], place[style_key])
        prompt = f"{world.label(image)}, {zoo.concepts[pair[1]].trigger}"
        cells.append(Cell(image, pair, encode_pictures(world.vae, picture)[0], prompt))
    return cells


def cells_batch(zoo: Zoo, cells: Sequence[Cell], name: str | None = None) -> GateBatch:
    latents = torch.stack([cell.latents for cell in cells])
    return zoo.gate_batch(
        latents.repeat_interleave(RIVAL_IMAGES, 0),
        [cell.prompt for cell in cells for _ in range(RIVAL_IMAGES)],
        torch.tensor([cell.adapters for cell in cells]),
        name,
    )


def autolora_training(zoo: Zoo, steps: int, rate: float, seed: int) -> GateTraining:
    """Train on sets of the train split, validate on fixed ones of the validation split."""
    train = zoo.members("train")
    sizes, shares = list(SET_SIZES), list(SET_SIZES.values())

    def batch(step: int) -> GateBatch:
        rng = np.random.default_rng((seed, step))
        return zoo.batch(rng, train, (SETS, IMAGES), int(rng.choice(sizes, p=shares)))

    return GateTraining(
        zoo.world.transformer, zoo.bank, batch, steps, rate, held(zoo, []), 100, seed
    )


def rivals_training(zoo: Zoo, steps: int, rate: float, seed: int) -> GateTraining:
    """Train on the tuning cells and, so that gates stay able to choose, on sets."""
    train = zoo.members("train")
    cells = withheld_cells(zoo, "validation")
    kept, cells = cells[:CELLS_KEPT], cells[CELLS_KEPT:]
    sizes, shares = list(RIVAL_SIZES), list(RIVAL_SIZES.values())

    def batch(step: int) -> GateBatch:
        rng = np.random.default_rng((seed, step))
        if rng.random() < CELLS_SHARE:
            chosen = rng.choice(len(cells), RIVAL_SETS, replace=False)
            return cells_batch(zoo, [cells[k] for k in chosen])
        size = int(rng.choice(sizes, p=shares))
        return zoo.batch(rng, train, (RIVAL_SETS, RIVAL_IMAGES), size, UNSEEN_SHARE, 0.0)

    validation = held(zoo, [cells_batch(zoo, kept, "cells")])
    return GateTraining(zoo.world.transformer, zoo.bank, batch, steps, rate, validation, 25, seed)


def held(zoo: Zoo, more: list[GateBatch]) -> list[GateBatch]:
    """Return fixed sets of the validation split, one batch a size, and `more`."""
    rng, members = np.random.default_rng(1), zoo.members("validation")
    sets = (VALIDATION_SETS, IMAGES)
    return [*(zoo.batch(rng, members, sets, n, plain_share=0.0) for n in SET_SIZES), *more]


def train(
    kind: str, base: Path, zoo_folder: Path, output: Path, steps: int, rate: float, seed: int
) -> None:
    """Train to `output`; state is kept beside it, so a stopped run goes on."""
    zoo = Zoo.load(World.load(base), zoo_folder, ("train", "validation"))
    torch.manual_seed(seed)
    gates: TrainableGates
    if kind == "rivals":
        training = rivals_training(zoo, steps, rate, seed)
        gates = RivalGates.for_transformer(training.transformer, BASE_MODEL)
    else:
        training = autolora_training(zoo, steps, rate, seed)
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
        "seed": seed,
        "adapters": len(zoo.members("train")),
        "encoder": zoo.relevance.encoder.name,
        "curve": curve,
    }
    gates.save(output)
    state.unlink(missing_ok=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=SCHEDULES, default="rivals")
    parser.add_argument("--base", type=Path, default=BUILD / "base")
    parser.add_argument("--zoo", type=Path, default=BUILD / "zoo")
    parser.add_argument("--output", type=Path, default=BUILD / "gates.safetensors")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--seed", type=int, default=0)
    # The layers are small: with other work on the machine, two threads waited for each
    # other and a step took 2 s instead of 0.4 s.
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    steps, rate = SCHEDULES[arguments.kind]
    train(
        arguments.kind,
        arguments.base,
        arguments.zoo,
        arguments.output,
        arguments.steps or steps,
        arguments.rate or rate,
        arguments.seed,
    )
