"""What authors call the modules of the bases of 2025 and 2026, apart from the reader's tables.

originals.json has each name of a block of every kind, with diffusers' modules in the order of
its rows, and "~" before one whose halves (shift, scale) are the other way round in diffusers;
"{last}" is the last block. Read from the authors' networks as ComfyUI, sd-scripts, musubi-tuner,
ai-toolkit and DiffSynth-Studio have them. test_checkpoints.py holds the reader's names against
diffusers' converters of checkpoints.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import torch

from tests.encoder.dialects.networks import Changes, Shapes, family_of

FILE = Path(__file__).parent / "originals.json"
Targets = Mapping[str, tuple[str, ...]]


@cache
def originals(architecture: str) -> Targets:
    """Every original name of a tiny network's layers, with diffusers' modules of its rows."""
    layers = family_of(architecture).layers
    rows = json.loads(FILE.read_text())[architecture]
    return {
        name: targets
        for original, modules in rows.items()
        for name, targets in _all_blocks(original, modules.split())
        if all(target.removeprefix("~") in layers for target in targets)
    }


def _all_blocks(original: str, modules: list[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Tiny networks have up to two blocks of a kind."""
    for i in ("0", "1") if ".0." in original else ("",):
        names = [name.replace("{last}", "1") for name in (original, *modules)]
        name, *targets = (name.replace(".0.", f".{i}.", 1) if i else name for name in names)
        yield name, tuple(targets)


def original_shapes(architecture: str) -> Shapes:
    layers = family_of(architecture).layers
    return {
        name: (
            sum(layers[target.removeprefix("~")][0] for target in targets),
            layers[targets[0].removeprefix("~")][1],
        )
        for name, targets in originals(architecture).items()
    }


def original_to_diffusers(architecture: str, changes: Changes) -> Changes:
    layers, names = family_of(architecture).layers, originals(architecture)
    converted: Changes = {}
    for parameter, change in changes.items():
        targets = names[parameter.removesuffix(".weight")]
        plain = [target.removeprefix("~") for target in targets]
        parts = change.split([layers[module][0] for module in plain])
        for target, module, part in zip(targets, plain, parts, strict=True):
            halves = part.chunk(2)
            swapped = torch.cat([halves[1], halves[0]]) if target.startswith("~") else part
            converted[f"{module}.weight"] = swapped
    return converted
