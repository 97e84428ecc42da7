"""Compare an adapter as read with the change that it stands for."""

from dataclasses import dataclass
from pathlib import Path

import torch

from encoder.adapter.lora_file import LoraWeights, read
from encoder.base_models.families import FAMILIES
from tests.encoder.dialects.networks import Changes, families, network_of


@dataclass(frozen=True)
class Comparison:
    weights: LoraWeights
    unmatched: tuple[str, ...]
    missing: list[str]  # parameters that the file changes, and the reader does not
    surplus: list[str]  # the other way round
    largest: float  # difference, relative to the largest change of the same parameter


def compare(path: Path, changes: Changes, architecture: str) -> Comparison:
    weights = read(path, (*FAMILIES, *families()))
    base = dict(network_of(architecture).named_parameters())
    found = {
        f"{name}.weight": layer.delta(base[f"{name}.weight"].detach())
        for name, layer in weights.layers.items()
    } | {name: vector.float() for name, vector in weights.vectors.items()}
    largest = 0.0
    for name in found.keys() & changes.keys():
        expected = changes[name].double()
        assert found[name].shape == expected.shape, name
        error = (found[name].double() - expected).abs().max() / expected.abs().max()
        largest = max(largest, float(torch.nan_to_num(error, nan=1.0)))
    return Comparison(
        weights,
        weights.verdict.unmatched,
        sorted(changes.keys() - found.keys()),
        sorted(found.keys() - changes.keys()),
        largest,
    )
