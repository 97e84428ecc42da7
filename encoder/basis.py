"""The directions in which a family's adapters change its layers, learned once and kept.

Random projections spread their few numbers over all of ΔW; adapters of one base model use a
small part of it. A basis holds, for every layer, the leading directions of the outputs and
of the inputs over many adapters (the factors of HOSVD [1]): at the same size a sketch in it
keeps many times the energy, and finds far more (docs/benchmarks.md).

- [1] De Lathauwer et al., 2000, https://doi.org/10.1137/S0895479896305696
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from encoder.base_models import FluxFamily
from encoder.lora_file import LoraLayer, LoraWeights

# Part of the package: sketches are compared for years, so a basis never changes once shipped.
FOLDER = Path(__file__).parent / "bases"


@dataclass(frozen=True, eq=False)
class Basis:
    """Orthonormal rows for every layer of a family, in the family's order."""

    left: Sequence[Tensor]  # (size, d_out) each
    right: Sequence[Tensor]  # (size, d_in) each

    def save(self, path: Path) -> None:
        """Write float16 safetensors."""
        tensors = {f"{side}.{k}": t for side in ("left", "right") for k, t in self._items(side)}
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: t.half().contiguous() for name, t in tensors.items()}, path)

    def _items(self, side: str) -> Iterable[tuple[int, Tensor]]:
        return enumerate(self.left if side == "left" else self.right)


@cache
def find_basis(family: str, size: int) -> Basis | None:
    """Return the shipped basis of a family at this size, if there is one."""
    path = FOLDER / f"{family}-{size}.safetensors"
    if not path.exists():
        return None
    tensors = load_file(path)
    layers = range(len(tensors) // 2)
    return Basis(
        [tensors[f"left.{k}"].float() for k in layers],
        [tensors[f"right.{k}"].float() for k in layers],
    )


def fit_basis(family: FluxFamily, adapters: Sequence[LoraWeights], size: int) -> Basis:
    """Find the `size` leading directions of every layer over `adapters`.

    They are the eigenvectors of Σ ΔW ΔWᵀ and Σ ΔWᵀ ΔW, summed through the factors.
    """
    left, right = [], []
    for name in family.block_layers:
        layers = [weights.layers[name] for weights in adapters if name in weights.layers]
        left.append(leading(sum_outputs(layers), size))
        right.append(leading(sum_inputs(layers), size))
    return Basis(left, right)


def sum_outputs(layers: Sequence[LoraLayer]) -> Tensor:
    """Return Σ ΔW ΔWᵀ, (d_out, d_out)."""
    total = torch.zeros(len(layers[0].up), len(layers[0].up))
    for layer in layers:
        up, down = layer.up.float() * layer.scale, layer.down.float()
        total += up @ (down @ down.T) @ up.T
    return total


def sum_inputs(layers: Sequence[LoraLayer]) -> Tensor:
    """Return Σ ΔWᵀ ΔW, (d_in, d_in)."""
    width = layers[0].down.shape[1]
    total = torch.zeros(width, width)
    for layer in layers:
        up, down = layer.up.float() * layer.scale, layer.down.float()
        total += down.T @ (up.T @ up) @ down
    return total


def leading(symmetric: Tensor, size: int) -> Tensor:
    """Return the eigenvectors of the largest eigenvalues as rows, largest first."""
    vectors: Tensor = torch.linalg.eigh(symmetric.double()).eigenvectors
    return vectors.flip(1)[:, :size].T.float()
