"""A family's basis from any number of adapters, each read once a pass.

The sums Σ ΔWᵀ ΔW of `encoder.sketches.basis` take gigabytes for a large base, and its adapters do
not fit into memory together. Here each layer keeps what the sum makes of a few directions, which
are turned towards its leading ones from pass to pass (randomised subspace iteration [1]).

- [1] Halko et al., 2011, https://doi.org/10.1137/090771806, algorithm 4.4
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor

from encoder.adapter.layers import Factors, Layer
from encoder.adapter.lora_file import open_adapter
from encoder.adapter.product_batch import ProductBatch
from encoder.arrays import Doubles
from encoder.base_models.families import Family
from encoder.errors import BaseWeightNeededError, LoraFileError
from encoder.sketches.basis import DIRECTIONS, Basis

# Directions that are followed beside those wanted, for these to be found in few passes.
SPARE = 8
PASSES = 2
# Of all layers but those of one kind, more adapters change nothing any more.
MOST_ADAPTERS = 400


class InputLearner:
    """Learns the inputs that adapters listen to most, from their layers, pass after pass.

    It watches adapters being read (`OpenedLora.read`).
    """

    def __init__(self, family: Family) -> None:
        self._family = family
        self._places = {name: index for index, name in enumerate(family.block_layers)}
        generator = torch.Generator().manual_seed(0)
        self._followed = [
            torch.linalg.qr(
                torch.randn(width, min(DIRECTIONS + SPARE, width), generator=generator)
            )[0]
            for _, width in family.block_layers.values()
        ]
        self._answers = [torch.zeros_like(one) for one in self._followed]

    def add(
        self,
        name: str,
        layer: Layer,
        norm: float | None = None,
        factors: Factors | None = None,
    ) -> None:
        """Add a layer's ΔWᵀ ΔW, divided by its trace: each adapter counts once."""
        if name not in self._places:
            return
        try:
            down, up = layer.factors() if factors is None else factors
        except BaseWeightNeededError:
            return
        self._add(self._places[name], down.flatten(1).float(), up.flatten(1).float())

    def add_batch(self, batch: ProductBatch, norms: Doubles) -> None:
        """Add layers of equal shapes."""
        for name, down, up in zip(batch.names, batch.downs, batch.ups, strict=True):
            if name in self._places:
                self._add(self._places[name], down, up.T)

    def _add(self, place: int, down: Tensor, up: Tensor) -> None:
        inner = up.T @ up
        answer = down.T @ (inner @ (down @ self._followed[place]))
        trace = ((inner @ down) * down).sum()
        if torch.isfinite(answer).all() and trace > 0:
            self._answers[place] += answer / trace

    def end_pass(self) -> None:
        """Turn the directions towards those that were answered most."""
        for place, answer in enumerate(self._answers):
            if answer.any():
                self._followed[place] = torch.linalg.qr(answer)[0]
                answer.zero_()

    def finish(self) -> Basis:
        """Return the leading directions of every layer after the last pass, which is not ended.

        A layer that no adapter changes has random ones.
        """
        inputs = []
        for followed, answer in zip(self._followed, self._answers, strict=True):
            small = followed.T @ answer
            vectors = torch.linalg.eigh((small + small.T).double() / 2).eigenvectors
            leading = followed.double() @ vectors.flip(1)[:, :DIRECTIONS]
            inputs.append(leading.T.half())
        return Basis(inputs)


def learn_basis(
    family: Family,
    paths: Iterable[Path],
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> Basis:
    """Learn a basis from adapters' files; `progress` is called after each of each pass.

    What cannot be read, or is of another family, is left out.
    """
    learner, files = InputLearner(family), list(paths)
    for number in range(PASSES):
        if number:
            learner.end_pass()
        for done, path in enumerate(files, start=number * len(files) + 1):
            progress(done, PASSES * len(files), "Learning the basis")
            try:
                opened = open_adapter(path)
                if opened.outcome.family is family:
                    opened.read(learner)
            except LoraFileError:
                continue
    return learner.finish()
