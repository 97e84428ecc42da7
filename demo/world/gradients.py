"""What the base's own loss says of names, looks and effects: adapters that need no training.

An adapter starts as no change and follows the gradient of its pictures' loss, so that gradient
is much like it: sketched alike, it finds the adapter of the same pictures among 60 with an MRR of
.99 (docs/benchmarks/wide.md), and takes a few dozen samples where an adapter takes hundreds.

`python -m demo.world.gradients` writes those of all names that the art has, of its effects and
looks, and of looks that are made up (demo/world/made_looks.py), to `concepts/` under the build
folder, without what the miniature world's reports ask for. 32 concepts are a file, of four bags
of pictures each. Of a name every second bag is redrawn (demo/world/redraw.py), since a name is not
its art. Each turn adds as much again. It can be stopped anywhere, and several processes may work
side by side.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crawler.whole_file import written_whole
from demo.base import flow_loss
from demo.effects import Floats
from demo.layers import block_layers
from demo.listing import BASE_MODEL
from demo.paths import DATA, GRADIENTS, MANNERS, THINGS
from demo.side_by_side import claimed
from demo.world.authors import Author, draw_author
from demo.world.concepts import Concept, Planner
from demo.world.listener import Listener
from demo.world.made_looks import MADE_LOOKS
from demo.world.redraw import redraw
from demo.world.splits import Unseen
from demo.world.zoo import BATCH, World, spread_times
from demo.zoo import Lesson, sample_all
from encoder.sketches.basis import Basis, basis_path

TOGETHER, BAGS = 32, 4
# Batches of a bag; each has four samples of every concept.
ROUNDS_OF_NAME, ROUNDS_OF_MANNER = 4, 6
# Two tell names apart less well, three as well (docs/benchmarks/wide.md).
TURNS = 4
NAME_SEED, MANNER_SEED, LOOK_SEED, SORT_SEED = 9, 11, 13, 15


def sketch_gradients(
    world: World, basis: Basis, lessons: Sequence[Lesson], rounds: int, seed: int
) -> Floats:
    """Sketch the gradient of every lesson's loss, (lessons, values of a sketch)."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    listener = Listener(block_layers(world.transformer), basis, len(lessons))
    with listener.attached():
        for _ in range(rounds):
            latents, prompt = sample_all(lessons, rng, BATCH)
            when, noise = spread_times(rng, len(lessons)), torch.randn_like(latents)
            latents.requires_grad_(True)
            losses = flow_loss(world.transformer, latents, prompt, when, noise)
            losses.sum().backward()
    return listener.sketches()


@dataclass
class Writer:
    """Writes the gradients of many concepts, file by file."""

    folder: Path
    world: World
    basis: Basis
    planner: Planner

    @classmethod
    def open(cls, folder: Path, base: Path) -> "Writer":
        for part in (*THINGS, *MANNERS):
            (folder / part).mkdir(parents=True, exist_ok=True)
        planner = Planner.load("train", Unseen.read(DATA / "splits.json"))
        return cls(folder, World.load(base), Basis.load(basis_path(BASE_MODEL)), planner)

    def write_turn(self, turn: int) -> None:
        """Write what is not there of a turn and what no other process is at."""
        counts = {
            "manners": len(self.planner.manners),
            "looks": len(MADE_LOOKS),
            "sorts": len(self.planner.sorts),
            "names": len(self.planner.names),
        }
        for part, count in counts.items():
            for start in range(0, count, TOGETHER):
                self._write(part, turn, start)

    def _write(self, part: str, turn: int, start: int) -> None:
        path = self.folder / part / f"{turn}-{start:05d}.npz"
        with claimed(path) as free:
            if not free:
                return
            began = time.monotonic()
            sketched = {
                "names": self._names,
                "sorts": self._sorts,
                "manners": self._manners,
                "looks": self._looks,
            }
            bags, told = sketched[part](turn, start)
            largest = np.abs(bags).max(axis=(0, 2), keepdims=True)
            with written_whole(path) as partial, partial.open("wb") as file:
                # Bags of one concept stay comparable: they share what they are divided by.
                values = (bags / largest).astype(np.float16)
                np.savez(file, values=values, scale=largest, told=json.dumps(told))
        print(f"{part} {turn}-{start}: {time.monotonic() - began:.0f} s", flush=True)

    def _names(self, turn: int, start: int) -> tuple[Floats, list[list[str]]]:
        rng, planner = np.random.default_rng([NAME_SEED, turn, start]), self.planner
        names = planner.names[start : start + TOGETHER]
        bags = []
        for bag in range(BAGS):
            author = replace(draw_author(rng, start), lazy=False)
            lessons = []
            for name in names:
                concept = planner.name(name, author, rng)
                if bag % 2:
                    drawn = redraw(planner.art.rgba[list(concept.pictures)], rng)
                else:
                    drawn = planner.draw(concept)
                lessons.append(self.world.lesson(concept, drawn))
            bags.append(self._sketch(lessons, ROUNDS_OF_NAME, turn, start, bag))
        entries: list[dict[str, Any]] = [planner.art.names[name] for name in names]
        return np.stack(bags), [[entry["label"], entry["label_zh"]] for entry in entries]

    def _sorts(self, turn: int, start: int) -> tuple[Floats, list[list[str]]]:
        rng, planner = np.random.default_rng([SORT_SEED, turn, start]), self.planner
        sorts = planner.sorts[start : start + TOGETHER]
        bags = self._bags(
            turn, start, rng, lambda by: [planner.sort(own, by, rng) for own in sorts]
        )
        return bags, [list(sort) for sort in sorts]

    def _manners(self, turn: int, start: int) -> tuple[Floats, list[list[str]]]:
        rng, planner = np.random.default_rng([MANNER_SEED, turn, start]), self.planner
        manners = planner.manners[start : start + TOGETHER]
        bags = self._bags(
            turn, start, rng, lambda by: [planner.manner(own, by, rng) for own in manners]
        )
        return bags, [planner.said_of(manner) for manner in manners]

    def _bags(
        self,
        turn: int,
        start: int,
        rng: np.random.Generator,
        draw: Callable[[Author], list[Concept]],
    ) -> Floats:
        """Sketch gradients of concepts as `draw` draws them anew for every bag."""
        bags = []
        for bag in range(BAGS):
            concepts = draw(replace(draw_author(rng, start), lazy=False))
            lessons = [self.world.lesson(own, self.planner.draw(own)) for own in concepts]
            bags.append(self._sketch(lessons, ROUNDS_OF_MANNER, turn, start, bag))
        return np.stack(bags)

    def _looks(self, turn: int, start: int) -> tuple[Floats, list[list[str]]]:
        rng, planner = np.random.default_rng([LOOK_SEED, turn, start]), self.planner
        looks = MADE_LOOKS[start : start + TOGETHER]
        bags = []
        for bag in range(BAGS):
            author = replace(draw_author(rng, start), lazy=False)
            lessons = []
            for look in looks:
                concept = planner.made(look, author, rng)
                drawn = look.draw(planner.art.rgba[list(concept.pictures)])
                lessons.append(self.world.lesson(concept, drawn))
            bags.append(self._sketch(lessons, ROUNDS_OF_MANNER, turn, start, bag))
        return np.stack(bags), [[*look.said, *look.said_zh] for look in looks]

    def _sketch(
        self, lessons: Sequence[Lesson], rounds: int, turn: int, start: int, bag: int
    ) -> Floats:
        seed = turn * 1_000_003 + start * 7 + bag
        return sketch_gradients(self.world, self.basis, lessons, rounds, seed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, default=DATA / "base")
    parser.add_argument("--turns", type=int, default=TURNS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    writer = Writer.open(GRADIENTS, arguments.base)
    for turn in range(arguments.turns):
        writer.write_turn(turn)
