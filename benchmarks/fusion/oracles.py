"""Oracles: adapters trained on the very pictures that fusion is judged on.

What fusing an object adapter with a style adapter can hope for at most: how far an adapter of
the same size comes that has seen the withheld picture itself. Trained like the zoo's, 16 at a
time, and kept.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import track
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.results import RESULTS
from crawler.whole_file import written_whole
from demo.concepts import Concept
from demo.zoo import GROUP, World, train_group

FOLDER = RESULTS / "oracles"
# There is one picture, so that a step needs no more of it at other times and noises.
RANK, BATCH, SEED = 4, 3, 9000


# Every layer has its down (rank, d_in) and up (d_out, rank).
Oracle = dict[str, tuple[Tensor, Tensor]]


def load_oracles(world: World, images: Sequence[int]) -> dict[int, Oracle]:
    """Return by picture its oracle, trained unless it was kept."""
    oracles = {}
    styles = {image: key for image, _, key, _ in world.plan.withheld}
    by_key = {concept.key: concept for concept in world.plan.concepts}
    starts = range(0, len(images), GROUP)
    for start in track(starts, "Oracles", console=Console(stderr=True)):
        members = list(images[start : start + GROUP])
        path = FOLDER / f"{members[0]}-{len(members)}.safetensors"
        if not path.exists():
            concepts = [one_picture(by_key[styles[image]], image) for image in members]
            train_oracles(world, concepts, path, SEED + start)
        tensors = load_file(path)
        layers = {key.split("/")[1] for key in tensors}
        for place, image in enumerate(members):
            oracles[image] = {
                layer: (tensors[f"{place}/{layer}/down"], tensors[f"{place}/{layer}/up"])
                for layer in layers
            }
    return oracles


def one_picture(style: Concept, image: int) -> Concept:
    """Return a concept of one picture, prompted as its style's pictures are."""
    return replace(style, key=f"oracle/{image}", images=(image,), unseen=())


def train_oracles(world: World, concepts: list[Concept], path: Path, seed: int) -> None:
    group = train_group(world, concepts, RANK, seed, BATCH)
    tensors = {}
    for place in range(len(concepts)):
        for layer in group.layers:
            tensors[f"{place}/{layer}/down"] = group.down[layer][place].detach()
            tensors[f"{place}/{layer}/up"] = group.up[layer][place].detach()
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as partial:
        save_file({key: part.half().contiguous() for key, part in tensors.items()}, partial)
