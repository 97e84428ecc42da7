"""Draw the covers of shipped adapters: of many tries those that show best what the adapter learned.

So do authors, who post the best of what they drew. The zoo itself is drawn once, for the time.
"""

import argparse
import json
from pathlib import Path

import torch
from PIL import Image
from rich.progress import track
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import avg_pool2d

from demo.art import STYLES
from demo.base import follow_flow
from demo.concepts import BASE_STYLES, Concept
from demo.layers import block_layers, hooked
from demo.listing import safetensors_metadata
from demo.paths import DATA
from demo.zoo import (
    COVER_GUIDANCE,
    COVER_QUALITY,
    COVER_STEPS,
    COVERS,
    World,
    cover_prompts,
    decode_pictures,
)

# Of each adapter, and of how many things at most where it can draw any.
TRIES = 96
MOST_SUBJECTS = 12
# Pictures are compared coarsely: a person sees first where is what, not where exactly.
COARSE = 4


def prompts_of(world: World, concept: Concept) -> list[tuple[str, tuple[int, ...]]]:
    """Return prompts to draw, each with the pictures that it may come out as."""
    if concept.kind == "object":
        # A black silhouette is drawn most easily, and shows least what a thing looks like.
        coloured = tuple(image for image in concept.images if _is_coloured(world, image))
        wanted = coloured or concept.images
        return [(prompt, wanted) for prompt in cover_prompts(world, concept)]
    return [
        (f"{world.label(image)}, {concept.trigger}", (image,))
        for image in concept.images[:MOST_SUBJECTS]
    ]


def _is_coloured(world: World, image: int) -> bool:
    return STYLES[int(world.plan.art.style[image])] in BASE_STYLES


def best_covers(world: World, concept: Concept, state: dict[str, Tensor], seed: int) -> Tensor:
    """Draw an adapter's covers, uint8 (COVERS, 64, 64, 3), one of a prompt, the best first.

    `state` has its A and B (`transformer.NAME.lora_A.weight`), B at full strength.
    """
    asked = prompts_of(world, concept)
    each = TRIES // len(asked)
    pictures = _draw(world, [prompt for prompt, _ in asked for _ in range(each)], state, seed)
    best = []
    for place, (_, images) in enumerate(asked):
        drawn = pictures[place * each : (place + 1) * each]
        off = off_by(drawn, torch.from_numpy(world.plan.pictures(concept, images)))
        least = off.min(dim=0)
        best.append((float(least.values), drawn[int(least.indices)]))
    best.sort(key=lambda found: found[0])
    return torch.stack([picture for _, picture in best[:COVERS]])


@torch.no_grad()
def _draw(world: World, prompts: list[str], state: dict[str, Tensor], seed: int) -> Tensor:
    """Draw a picture of each prompt with an adapter, uint8 (n, 64, 64, 3)."""

    def add(name: str, inputs: Tensor, output: Tensor) -> Tensor:
        down, up = (state[f"transformer.{name}.lora_{part}.weight"] for part in "AB")
        return output + inputs @ down.T @ up.T

    tokens, pooled = world.prompts.encode(prompts)
    noise = torch.randn(len(prompts), 16, 64, generator=torch.Generator().manual_seed(seed))
    nothing = torch.zeros_like(tokens), torch.zeros_like(pooled)
    with hooked(block_layers(world.transformer), add):
        latents = follow_flow(
            world.transformer, noise, (tokens, pooled), nothing, COVER_STEPS, COVER_GUIDANCE
        )
    return decode_pictures(world.vae, latents)


def off_by(drawn: Tensor, wanted: Tensor) -> Tensor:
    """Return how far pictures (n, ...) are off the nearest of those wanted (m, ...), (n,).

    As a share of what there is to see in that one: an empty picture is as far off as can be.
    """
    drawn, wanted = _coarse(drawn), _coarse(wanted)
    seen = (wanted - wanted.median(dim=1, keepdim=True).values).square().sum(1)
    return (torch.cdist(drawn, wanted).square() / seen).min(1).values


def _coarse(pictures: Tensor) -> Tensor:
    return avg_pool2d(pictures.float().permute(0, 3, 1, 2), COARSE).flatten(1)


def _state(path: Path, concept: Concept) -> dict[str, Tensor]:
    """Read an adapter of the zoo, with B at full strength."""
    state = {key: value.float() for key, value in load_file(path).items()}
    rank = next(len(value) for key, value in state.items() if ".lora_A." in key)
    scale, _ = safetensors_metadata(concept, int(path.stem), rank)
    return {key: value * scale if ".lora_B." in key else value for key, value in state.items()}


def draw_covers(folder: Path, base: Path) -> None:
    """Draw the covers of all adapters that are listed in `folder`."""
    world = World.load(base)
    concepts = {concept.key: concept for concept in world.plan.concepts}
    for entry in track(json.loads((folder / "listing.json").read_text()), "Covers"):
        concept, path = concepts[entry["_key"]], folder / entry["file"]
        covers = best_covers(world, concept, _state(path, concept), int(path.stem))
        for cover, picture in zip(entry["covers"], covers, strict=True):
            Image.fromarray(picture.numpy()).save(folder / cover["file"], quality=COVER_QUALITY)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=DATA / "zoo")
    parser.add_argument("--base", type=Path, default=DATA / "base")
    arguments = parser.parse_args()
    draw_covers(arguments.folder, arguments.base)
