"""Train the gates of the tiny base on the zoo, and write them where the demo finds them.

A step draws from a mixture. The paper's is sets of adapters with pictures of the first of them.
The mixed one adds cells: on pictures that two adapters are about and neither has seen, gates
learn to use both; on cells that an adapter has memorised they learn to trust it too much (trained
on those, composition ended below the average's). The tuning cells of objects in styles are few;
effects on objects and styles can be drawn without end.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from demo.fusion_data import Cell, Zoo, cells_batch, effect_cell, kept_cells, withheld_cells
from demo.listing import BASE_MODEL
from demo.paths import BUILD
from demo.zoo import World
from registry.fusion.gates.file import KINDS, save_gates
from registry.fusion.training.train import (
    SET_SIZES,
    GateBatch,
    GateTraining,
    train_gates,
)


@dataclass(frozen=True)
class Mixture:
    """What a step of training draws."""

    sets: int
    images: int  # of each set
    sizes: Mapping[int, float]  # how often a set has so many adapters
    unseen: float  # share of pictures that their adapter has not seen
    plain: float  # share of prompts that do not ask for the adapter
    cells: float  # share of steps on cells
    beside: float = 0.0  # of these, share with a third adapter that the prompt does not name


MIXTURES = {
    "paper": Mixture(6, 8, SET_SIZES, unseen=0.0, plain=0.5, cells=0.0),
    "mixed": Mixture(12, 4, {2: 0.6, 3: 0.4}, unseen=0.5, plain=0.0, cells=0.85, beside=0.3),
}
# How often a cell is an object in a style, an object with an effect, a style with an effect.
CELLS = {"style": 0.5, "object": 0.3, "both": 0.2}
# The weight of gates' shyness in the loss, which is holding back what is asked for. Effects lose
# nothing by more of it; with .1, objects in styles compose worse on validation.
BOLDNESS = {"style": 0.03, "object": 0.2, "both": 0.2}
# Every kind of gates has its mixture, steps, and rate.
SCHEDULES = {"autolora": ("paper", 800, 1e-2), "rivals": ("mixed", 200, 6e-2)}
VALIDATION_SETS, VALIDATION_IMAGES = 16, 8
# How many of the cells for tuning are kept for the validation curve.
CELLS_KEPT = 10


def training_of(zoo: Zoo, mixture: Mixture, steps: int, rate: float, seed: int) -> GateTraining:
    """Draw batches of the training split and the tuning cells; validate on fixed others."""
    members = zoo.members("train")
    cells = withheld_cells(zoo, "validation")
    held_cells, style_cells = cells[:CELLS_KEPT], cells[CELLS_KEPT:] + kept_cells(zoo, "train")
    sizes, shares = list(mixture.sizes), list(mixture.sizes.values())

    def draw_cells(rng: np.random.Generator, kind: str) -> list[Cell]:
        if kind == "style":
            chosen = rng.choice(len(style_cells), mixture.sets, replace=False)
            return [style_cells[k] for k in chosen]
        first = "object" if kind == "object" else "style"
        return [effect_cell(zoo, rng, "train", first) for _ in range(mixture.sets)]

    def batch(step: int) -> GateBatch:
        rng = np.random.default_rng((seed, step))
        if rng.random() < mixture.cells:
            third = rng.random() < mixture.beside
            beside = rng.choice(members, (mixture.sets, 1)).tolist() if third else None
            kind = str(rng.choice(list(CELLS), p=list(CELLS.values())))
            return cells_batch(zoo, draw_cells(rng, kind), mixture.images, beside, BOLDNESS[kind])
        size = int(rng.choice(sizes, p=shares))
        drawn = (mixture.sets, mixture.images)
        return zoo.batch(rng, members, drawn, size, mixture.unseen, mixture.plain)

    validation = [*held_sets(zoo), cells_batch(zoo, held_cells, VALIDATION_IMAGES, name="cells")]
    return GateTraining(zoo.world.transformer, zoo.bank, batch, steps, rate, validation, 50, seed)


def held_sets(zoo: Zoo) -> list[GateBatch]:
    """Return fixed sets of the validation split, one batch a size."""
    rng, members = np.random.default_rng(1), zoo.members("validation")
    sets = (VALIDATION_SETS, VALIDATION_IMAGES)
    return [zoo.batch(rng, members, sets, n, plain_share=0.0) for n in SET_SIZES]


def train(
    kind: str,
    mixture: str,
    base: Path,
    zoo_folder: Path,
    output: Path,
    steps: int,
    rate: float,
    seed: int,
) -> None:
    """Train to `output`; state is kept beside it, so a stopped run goes on."""
    zoo = Zoo.load(World.load(base), zoo_folder, ("train", "validation"))
    torch.manual_seed(seed)
    training = training_of(zoo, MIXTURES[mixture], steps, rate, seed)
    embeddings = zoo.embeddings(zoo.members("train"))
    gates = KINDS[kind].untrained(training.transformer, BASE_MODEL, embeddings)
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
        "mixture": mixture,
        "steps": steps,
        "rate": rate,
        "seed": seed,
        "adapters": len(zoo.members("train")),
        "encoder": zoo.relevance.encoder.name,
        "curve": curve,
    }
    save_gates(gates, output)
    state.unlink(missing_ok=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=SCHEDULES, default="rivals")
    parser.add_argument("--mixture", choices=MIXTURES, help="what to train on, if not as usual")
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
    mixture, steps, rate = SCHEDULES[arguments.kind]
    train(
        arguments.kind,
        arguments.mixture or mixture,
        arguments.base,
        arguments.zoo,
        arguments.output,
        arguments.steps or steps,
        arguments.rate or rate,
        arguments.seed,
    )
