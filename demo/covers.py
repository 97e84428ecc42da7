"""Draw the covers of shipped adapters: of many tries those that show best what the adapter learned.

So do authors, who post the best of what they drew. The zoo itself is drawn once, for the time.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from PIL import Image
from rich.progress import track
from torch import Tensor
from torch.nn.functional import avg_pool2d

from demo.art import STYLES
from demo.base import follow_flow
from demo.concepts import BASE_STYLES, Concept
from demo.layers import block_layers, hooked
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
from encoder.adapter.lora_file import LoraWeights, read
from registry.fusion.backends.prompt import PromptEncoder

# Of each adapter, and of how many things at most where it can draw any.
TRIES = 96
MOST_SUBJECTS = 12
# Pictures are compared coarsely: a person sees first where is what, not where exactly.
COARSE = 4


# A prompt, and the pictures, RGB uint8 (n, 64, 64, 3), one of which should come of it.
Asked = tuple[str, npt.NDArray[np.uint8]]


class Painter(Protocol):
    """A base that draws, with its autoencoder and what reads its prompts."""

    transformer: FluxTransformer2DModel
    vae: AutoencoderKL
    prompts: PromptEncoder


def asked_of(world: World, concept: Concept) -> list[Asked]:
    """Return what to draw of a concept."""
    if concept.kind == "object":
        # A black silhouette is drawn most easily, and shows least what a thing looks like.
        coloured = tuple(image for image in concept.images if _is_coloured(world, image))
        wanted = world.plan.pictures(concept, coloured or concept.images)
        return [(prompt, wanted) for prompt in cover_prompts(world, concept)]
    return [
        (f"{world.label(image)}, {concept.trigger}", world.plan.pictures(concept, (image,)))
        for image in concept.images[:MOST_SUBJECTS]
    ]


def _is_coloured(world: World, image: int) -> bool:
    return STYLES[int(world.plan.art.style[image])] in BASE_STYLES


def best_covers(
    painter: Painter, asked: Sequence[Asked], adapter: LoraWeights, seed: int
) -> Tensor:
    """Draw an adapter's covers, uint8 (COVERS, 64, 64, 3), one of a prompt, the best first."""
    each = TRIES // len(asked)
    pictures = _draw(painter, [prompt for prompt, _ in asked for _ in range(each)], adapter, seed)
    best = []
    for place, (_, wanted) in enumerate(asked):
        drawn = pictures[place * each : (place + 1) * each]
        least = off_by(drawn, torch.from_numpy(wanted)).min(dim=0)
        best.append((float(least.values), drawn[int(least.indices)]))
    best.sort(key=lambda found: found[0])
    return torch.stack([picture for _, picture in best[:COVERS]])


@torch.no_grad()
def _draw(painter: Painter, prompts: list[str], adapter: LoraWeights, seed: int) -> Tensor:
    """Draw a picture of each prompt with an adapter, uint8 (n, 64, 64, 3)."""
    parts = {name: (*layer.factors(), layer.scale) for name, layer in adapter.layers.items()}

    def add(name: str, inputs: Tensor, output: Tensor) -> Tensor:
        down, up, scale = parts[name]
        return output + scale * (inputs @ down.float().T @ up.float().T)

    tokens, pooled = painter.prompts.encode(prompts)
    noise = torch.randn(len(prompts), 16, 64, generator=torch.Generator().manual_seed(seed))
    nothing = torch.zeros_like(tokens), torch.zeros_like(pooled)
    changed = {
        name: layer for name, layer in block_layers(painter.transformer).items() if name in parts
    }
    with hooked(changed, add):
        latents = follow_flow(
            painter.transformer, noise, (tokens, pooled), nothing, COVER_STEPS, COVER_GUIDANCE
        )
    return decode_pictures(painter.vae, latents)


def off_by(drawn: Tensor, wanted: Tensor) -> Tensor:
    """Return how far pictures (n, ...) are off the nearest of those wanted (m, ...), (n,).

    As a share of what there is to see in that one: an empty picture is as far off as can be.
    """
    drawn, wanted = _coarse(drawn), _coarse(wanted)
    seen = (wanted - wanted.median(dim=1, keepdim=True).values).square().sum(1)
    return (torch.cdist(drawn, wanted).square() / seen).min(1).values


def _coarse(pictures: Tensor) -> Tensor:
    return avg_pool2d(pictures.float().permute(0, 3, 1, 2), COARSE).flatten(1)


def write_covers(entry: dict[str, Any], covers: Tensor, folder: Path) -> None:
    """Write an adapter's covers as the listing in `folder` has them."""
    for cover, picture in zip(entry["covers"], covers, strict=True):
        (folder / cover["file"]).parent.mkdir(exist_ok=True)
        Image.fromarray(picture.numpy()).save(folder / cover["file"], quality=COVER_QUALITY)


def draw_covers(folder: Path, base: Path) -> None:
    """Draw the covers of all adapters that are listed in `folder`."""
    world = World.load(base)
    concepts = {concept.key: concept for concept in world.plan.concepts}
    for entry in track(json.loads((folder / "listing.json").read_text()), "Covers"):
        asked, path = asked_of(world, concepts[entry["_key"]]), folder / entry["file"]
        write_covers(entry, best_covers(world, asked, read(path), int(path.stem)), folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=DATA / "zoo")
    parser.add_argument("--base", type=Path, default=DATA / "base")
    arguments = parser.parse_args()
    draw_covers(arguments.folder, arguments.base)
