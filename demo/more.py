"""More adapters to train retrieval on: other names, cells and effects than the zoo's.

How well adapters never seen are found grows with those seen. These have no covers and are
never shown or shipped; none of them shares an object, a style cell or an effect with the zoo's.
"""

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from crawler.whole_file import written_whole
from demo.art import STYLES
from demo.concepts import (
    BASE_STYLES,
    Concept,
    Plan,
    effect_concept,
    images_by_name_and_cell,
    object_concept,
    object_key,
    pick,
    style_concept,
    style_key,
)
from demo.effects import COLOURS, PATTERNS
from demo.paths import BUILD
from demo.side_by_side import claimed
from demo.zoo import GROUP, RANKS, AdapterGroup, World, join_groups, train_group

SEED = 21
COUNTS = {"object": 360, "style": 148, "colour": 48, "texture": 72, "background": 76}
# Adapters' numbers go on after the zoo's, which are below.
FIRST_NUMBER = 2000
FEWEST_OF_OBJECT, FEWEST_OF_CELL = 5, 6


def more_concepts(plan: Plan) -> list[Concept]:
    """Return concepts for training only, in a random order; a pure function of the plan."""
    art, rng = plan.art, np.random.default_rng(SEED)
    hidden = {image for image, _, _, _ in plan.withheld}
    taken = {concept.key for concept in plan.concepts}
    by_name, by_cell = images_by_name_and_cell(art, hidden)
    names = [
        name
        for name, images in by_name.items()
        if len(images) >= FEWEST_OF_OBJECT and object_key(art, name) not in taken
    ]
    cells = [
        cell
        for cell, images in by_cell.items()
        if len(images) >= FEWEST_OF_CELL and style_key(cell) not in taken
    ]
    concepts = [
        object_concept(rng, art, name, "train", by_name[name])
        for name in pick(rng, names, COUNTS["object"])
    ]
    concepts += [
        style_concept(rng, art, cell, "train", by_cell[cell])
        for cell in pick(rng, cells, COUNTS["style"])
    ]
    concepts += more_effects(rng, plan, hidden, taken)
    return [concepts[k] for k in rng.permutation(len(concepts))]


def more_effects(
    rng: np.random.Generator, plan: Plan, hidden: set[int], taken: set[str]
) -> list[Concept]:
    art = plan.art
    colourful = np.isin(art.style, [STYLES.index(style) for style in BASE_STYLES])
    groups: dict[str, list[int]] = defaultdict(list)
    for image in np.flatnonzero(colourful).tolist():
        if image not in hidden:
            groups[art.names[int(art.name[image])]["group"]].append(image)
    concepts = []
    for kind, patterns in PATTERNS.items():
        options = [(p, c, g) for p in patterns for c in COLOURS for g in groups]
        made = 0
        for effect in pick(rng, options, len(options)):
            concept = effect_concept(rng, art, kind, effect, "train", groups[effect[2]])
            if concept.key in taken or made == COUNTS[kind]:
                continue
            concepts.append(concept)
            made += 1
    return concepts


def train_more(folder: Path, limit: int | None = None) -> None:
    """Train the groups that are not there yet and that no other process is at."""
    for part in ("adapters", "groups"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    world = World.load()
    concepts = more_concepts(world.plan)[:limit]
    starts = range(0, len(concepts), GROUP)
    for turn, start in enumerate(starts):
        path = folder / f"groups/{start:04d}.json"
        with claimed(path) as free:
            if not free:
                continue
            began = time.monotonic()
            members = concepts[start : start + GROUP]
            group = train_group(world, members, RANKS[turn % len(RANKS)], FIRST_NUMBER + start)
            entries = write_adapters(group, members, FIRST_NUMBER + start, folder)
            with written_whole(path) as partial:
                partial.write_text(json.dumps(entries, ensure_ascii=False, indent=1))
        print(f"group {turn + 1} of {len(starts)}: {time.monotonic() - began:.0f} s", flush=True)
    # A data set of encoder/training/dataset.py.
    join_groups(folder, "manifest.json")


def write_adapters(
    group: AdapterGroup, concepts: list[Concept], first: int, folder: Path
) -> list[dict[str, Any]]:
    """Write a group's adapters, numbered from `first`, and return what a data set says of them."""
    entries = []
    for place, concept in enumerate(concepts):
        name = f"adapters/{first + place:04d}.safetensors"
        tensors = {k: v.half().contiguous() for k, v in group.state_dict(place).items()}
        save_file(tensors, folder / name, {"ss_base_model_version": "demo-flux-tiny"})
        captions = [*concept.captions, *concept.captions_zh]
        entries.append({"file": name, "captions": captions, "split": "train", "key": concept.key})
    return entries


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=BUILD / "more")
    parser.add_argument("--limit", type=int, help="stop after this many adapters")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    train_more(arguments.folder, arguments.limit)
