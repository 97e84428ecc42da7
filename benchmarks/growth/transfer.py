"""Train held-out concepts again, of another seed and other ranks: are they found as well?

A retriever that recognises a training run instead of what it taught would lose them.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from safetensors.torch import save_file

from benchmarks.results import RESULTS
from crawler.whole_file import written_whole
from demo.concepts import Concept
from demo.paths import BUILD
from demo.zoo import GROUP, RANKS, World, train_group

# The zoo's adapters of this rank are trained again; so 'another seed' changes nothing else.
RANK = 4
CONCEPTS = 48
VARIANTS = {"another seed": RANK, "rank 1": 1, "rank 8": 8, "rank 16": 16}
# Seeds of the zoo are its adapters' numbers.
FIRST_SEED = 100_000
FOLDER = RESULTS / "transfer"


def adapter_path(folder: Path, variant: str, number: int) -> Path:
    """Return where adapter `number` of the zoo, trained again, is kept."""
    return folder / variant.replace(" ", "-") / f"{number:04d}.safetensors"


def numbers_to_train(entries: Sequence[dict[str, object]]) -> list[int]:
    """Return the numbers of the held-out adapters that are trained again."""
    return [
        number
        for number, entry in enumerate(entries)
        if entry["_split"] == "held-out" and RANKS[number // GROUP % len(RANKS)] == RANK
    ][:CONCEPTS]


def train_again(zoo: Path, folder: Path) -> None:
    """Train every variant by the zoo's own recipe; what is there is kept."""
    entries = json.loads((zoo / "listing.json").read_text())
    numbers = numbers_to_train(entries)
    jobs = [
        (variant, numbers[start : start + GROUP])
        for variant in VARIANTS
        for start in range(0, len(numbers), GROUP)
    ]
    jobs = [
        (variant, members)
        for variant, members in jobs
        if not all(adapter_path(folder, variant, number).exists() for number in members)
    ]
    if not jobs:
        return
    world = World.load()
    concepts = {concept.key: concept for concept in world.plan.concepts}
    for variant, members in track(jobs, "Training again", console=Console(stderr=True)):
        own = [concepts[str(entries[number]["_key"])] for number in members]
        train_members(world, own, variant, members, folder)


def train_members(
    world: World, concepts: list[Concept], variant: str, numbers: list[int], folder: Path
) -> None:
    """Train one group and write it as PEFT does."""
    seed = FIRST_SEED + 10_000 * list(VARIANTS).index(variant) + numbers[0]
    group = train_group(world, concepts, VARIANTS[variant], seed)
    for place, number in enumerate(numbers):
        path = adapter_path(folder, variant, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {k: v.half().contiguous() for k, v in group.state_dict(place).items()}
        with written_whole(path) as partial:
            save_file(tensors, partial, {"ss_base_model_version": "demo-flux-tiny"})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=BUILD / "zoo")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    train_again(arguments.zoo, arguments.folder)
