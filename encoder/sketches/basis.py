"""The inputs that a family's adapters listen to, learned once and kept.

An adapter's A starts at random and moves little, so most of ΔW's energy lies in input
directions that say nothing. Those in which many adapters of one base agree are few, and much
like the leading directions of the base's own activations. A basis holds them for every
layer (the input factors of HOSVD [1]): sketches in two of them find nearly what the whole
ΔW finds, where random projections of that size find little (docs/benchmarks.md).

- [1] De Lathauwer et al., 2000, https://doi.org/10.1137/S0895479896305696
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from encoder.adapter.layers import Layer
from encoder.adapter.lora_file import LoraWeights
from encoder.base_models.families import Family
from encoder.errors import SketchError
from encoder.late_torch import Tensor, torch

# Part of the package: sketches are compared for years, so a basis never changes once shipped.
FOLDER = Path(__file__).parent / "bases"
# A third finds hardly more (docs/benchmarks.md).
DIRECTIONS = 2


@dataclass(frozen=True, eq=False)
class Basis:
    """Orthonormal rows (directions, d_in) for every layer of a family, in its order."""

    inputs: Sequence[Tensor]  # float16 each: what a file holds, so that a fresh one is the same

    @cached_property
    def version(self) -> str:
        """Names the sketches made in it, by its content."""
        data = b"".join(part.numpy().tobytes() for part in self.inputs)
        return f"basis-{hashlib.sha256(data).hexdigest()[:8]}"

    def save(self, path: Path) -> None:
        """Write safetensors."""
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {f"inputs.{k}": part.contiguous() for k, part in enumerate(self.inputs)}
        from safetensors.torch import save_file

        save_file(tensors, path)

    @classmethod
    def load(cls, path: Path) -> "Basis":
        """Read what `save` wrote."""
        from safetensors.torch import load_file

        tensors = load_file(path)
        return cls([tensors[f"inputs.{k}"] for k in range(len(tensors))])


def basis_path(family: str) -> Path:
    """Return where the package keeps a family's basis, if it has one."""
    return FOLDER / f"{family}.safetensors"


@cache
def find_basis(family: str) -> Basis | None:
    """Return the shipped basis of a family, if there is one."""
    path = basis_path(family)
    return Basis.load(path) if path.exists() else None


def fit_basis(
    family: Family, adapters: Sequence[LoraWeights], directions: int = DIRECTIONS
) -> Basis:
    """Find the leading input directions of every layer over `adapters`.

    They are the eigenvectors of Σ ΔWᵀ ΔW, summed through the factors, each adapter's ΔW
    having length 1.

    Raises:
        SketchError: no adapter changes some layer.
    """
    inputs = []
    for name in family.block_layers:
        layers = [weights.layers[name] for weights in adapters if name in weights.layers]
        if not layers:
            raise SketchError(f"no adapter changes layer {name}, so its inputs stay unknown")
        inputs.append(leading(sum_inputs(layers), directions).half())
    return Basis(inputs)


def sum_inputs(layers: Sequence[Layer]) -> Tensor:
    """Return Σ ΔWᵀ ΔW / |ΔW|², (d_in, d_in)."""
    width = layers[0].shape[1]
    total = torch.zeros(width, width)
    for layer in layers:
        down, up = (part.float() for part in layer.factors())
        square = down.T @ (up.T @ up) @ down
        # Its trace is the squared length; a layer of zeros adds nothing.
        total += square / square.trace().clamp(min=1e-30)
    return total


def leading(symmetric: Tensor, count: int) -> Tensor:
    """Return the eigenvectors of the largest eigenvalues as rows, largest first."""
    vectors: Tensor = torch.linalg.eigh(symmetric.double()).eigenvectors
    return vectors.flip(1)[:, :count].T.float()
