"""Which sizes a base model can draw, as the files in its folder say. Imports no torch."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoder.base_models.facts import Pipeline, find_pipeline
from registry.fusion.errors import SamplingError
from registry.fusion.options import Size

# Beyond so many times the side that it was made for a base repeats itself, and an image takes
# hundreds of times as long: attention grows with the fourth power of the side.
MOST_TIMES = 4
# diffusers' classes whose networks do not say for how many latents they were made.
USUAL_LATENTS = 128


@dataclass(frozen=True)
class Sizes:
    """Multiples of `unit`, up to `most`, in pixels a side."""

    unit: int
    most: int

    def check(self, size: Size, base_model: str) -> None:
        """Raise SamplingError if there is no such image."""
        if any(side % self.unit or not self.unit <= side <= self.most for side in size):
            raise SamplingError(
                f"{base_model} does not draw {size[0]}x{size[1]} pixels: use multiples of "
                f"{self.unit} up to {self.most}"
            )


def read_sizes(folder: Path, base_model: str) -> Sizes | None:
    """Return the sizes of the base in a folder; None where loading it will say what is wrong."""
    try:
        facts = _find_facts(folder, base_model)
        if facts is None:
            return None
        vae = _read(folder / "vae" / "config.json")
        network = _read(folder / facts.denoiser / "config.json")
        scale = 2 ** _halvings(vae)
        if facts.bare:
            side = int(vae["sample_size"])
        else:
            side = facts.side or int(network.get("sample_size", USUAL_LATENTS)) * scale
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return Sizes(facts.token_side * scale, MOST_TIMES * side)


def _find_facts(folder: Path, base_model: str) -> Pipeline | None:
    index = folder / "model_index.json"
    if not index.exists():
        return find_pipeline(base_model, lambda known: known.bare)
    kind = _read(index)["_class_name"]
    return find_pipeline(base_model, lambda known: known.diffusers_class == kind and not known.bare)


def _halvings(vae: dict[str, Any]) -> int:
    """Return how often an autoencoder halves the sides, as diffusers' pipelines count."""
    if "temperal_downsample" in vae:  # Qwen-Image's, with the spelling of its config
        return len(vae["temperal_downsample"])
    return len(vae["block_out_channels"]) - 1


def _read(path: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(path.read_text())
    return config
