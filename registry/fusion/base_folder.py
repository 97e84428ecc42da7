"""What the folder of a base model tells before any of its weights are loaded. Imports no torch."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoder.base_models.facts import Pipeline, find_pipeline, known_pipelines
from registry.fusion.errors import BaseModelError, SamplingError
from registry.fusion.options import Size

# How many times its own side an image may have. Bases repeat themselves from twice on, and the time
# grows with the fourth power.
MOST_TIMES = 8
# As recipes have them.
MOST_STEPS = 1000
# Latents to a side, where neither a file of ours nor the network's own config says: diffusers'
# pipelines for transformers have this number in their code.
USUAL_LATENTS = 128


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sides are multiples of `unit` pixels, and `side` is what the base draws if not asked."""

    unit: int
    side: int

    def check(self, size: Size) -> None:
        """Refuse a size, width and height in pixels, that the base cannot draw.

        Raises:
            SamplingError: with what it can.
        """
        width, height = size
        if any(side < self.unit or side % self.unit for side in size):
            raise SamplingError(f"{width}x{height} pixels: use multiples of {self.unit}")
        if max(size) > MOST_TIMES * self.side:
            raise SamplingError(
                f"{width}x{height} pixels: this base draws {self.side}x{self.side}; use "
                f"{MOST_TIMES * self.side} at most"
            )


def check_steps(steps: int) -> None:
    """Refuse numbers of steps in which no image is drawn.

    Raises:
        SamplingError: with those in which one is.
    """
    if not 1 <= steps <= MOST_STEPS:
        raise SamplingError(f"{steps} steps: use 1 to {MOST_STEPS}")


def read_facts(folder: Path, base_model: str) -> Pipeline:
    """Return what is known of the base in a folder.

    Raises:
        BaseModelError: the folder is absent, incomplete, or of a kind that is not supported.
    """
    complete = (folder / "model_index.json").exists()
    facts = read_pipeline(folder, base_model) if complete else bare_pipeline(base_model)
    check_folder(folder, facts)
    return facts


def read_sizes(folder: Path, base_model: str) -> Sizes:
    """Return what sizes the base in a folder can draw, as its pipeline will find it [1].

    - [1] https://github.com/huggingface/diffusers/tree/main/src/diffusers/pipelines

    Raises:
        BaseModelError: the folder is no base that is supported.
    """
    facts = read_facts(folder, base_model)
    vae = read_config(folder, "vae/config.json")
    halvings = vae.get("temperal_downsample") or vae.get("block_out_channels", [0] * 4)[1:]
    scale = 2 ** len(halvings)
    if facts.bare:
        side = int(vae["sample_size"])
    elif facts.side is not None:
        side = facts.side
    else:
        own = read_config(folder, f"{facts.denoiser}/config.json").get("sample_size")
        side = scale * (own if isinstance(own, int) else USUAL_LATENTS)
    return Sizes(facts.token_side * scale, side)


def read_pipeline(folder: Path, base_model: str) -> Pipeline:
    """Return what is known of the pipeline that a folder's model_index.json names."""
    kind = read_kind(folder, "model_index.json")
    facts = find_pipeline(
        base_model, lambda known: known.diffusers_class == kind and not known.bare
    )
    if facts is None:
        kinds = (known.diffusers_class for known in known_pipelines() if not known.bare)
        raise BaseModelError(
            folder, f"is a {kind}; supported are {', '.join(dict.fromkeys(kinds))}"
        )
    return facts


def bare_pipeline(base_model: str) -> Pipeline:
    """Return what is known of bases that were trained on a sentence encoder."""
    facts = find_pipeline(base_model, lambda known: known.bare)
    assert facts is not None, "the demo's base is one"
    return facts


def check_folder(folder: Path, facts: Pipeline) -> None:
    """Refuse a folder that lacks parts, before anything large is read."""
    for part in (facts.denoiser, "vae", "scheduler"):
        if not (folder / part).is_dir():
            raise BaseModelError(folder, f"has no {part}/; point to a diffusers folder")
    kind = read_kind(folder, f"{facts.denoiser}/config.json")
    if facts.diffusers_class == "FluxPipeline" and kind != "FluxTransformer2DModel":
        raise BaseModelError(folder, f"is a {kind} without model_index.json; only FLUX may be")


def read_kind(folder: Path, name: str) -> str:
    """Return the class that a config of diffusers names."""
    kind = read_config(folder, name).get("_class_name")
    if not isinstance(kind, str):
        raise BaseModelError(folder, f"{name} is no config: it names no class")
    return kind


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """Return a config of diffusers."""
    try:
        config = json.loads((folder / name).read_text())
    except (OSError, ValueError) as error:
        raise BaseModelError(folder, f"{name} is no config: {error}") from error
    if not isinstance(config, dict):
        raise BaseModelError(folder, f"{name} is no config: it is a {type(config).__name__}")
    return config
