"""Gradients of concepts -> what an encoder holds adapters against.

Gradients, like adapters, have much in common whatever they are of. What varies between gradients
of one concept, and between concepts, is scaled down by whitening them; the rest tells concepts
apart (linear discriminant analysis [1], with a class for every concept).

- [1] Fisher, 1936, https://doi.org/10.1111/j.1469-1809.1936.tb02137.x
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from encoder.adapter.bit_matrix import BitMatrix
from encoder.adapter.quarter_matrix import QuarterMatrix
from encoder.arrays import Floats
from encoder.sketches.sketch import Sketch
from encoder.text_encoder import TextEncoder, normalise
from encoder.training.train import encode_captions
from encoder.weight_encoders.concepts import Concepts, unit_layers

# What the variance is damped by, relative to the mean energy of a row; chosen on validation, of
# 1, 3 and 10.
DAMPING = 10.0
DAMPING_OF_LOOKS = 1.0
# Directions of less energy than this share of the strongest are noise of rounding.
SMALLEST_SHARE = 1e-6
# The share of a sketch's values that is kept, those in which concepts differ most: a third
# keeps the tiny base's checkpoint small (docs/benchmarks/wide.md).
COLUMNS = 0.35


@dataclass(frozen=True)
class Gradients:
    """Concepts with words, gradients and the halves that tell how gradients vary."""

    told: list[list[str]]
    values: Floats  # (concepts, values of a sketch), every layer of length 1
    halves: Floats  # (2 * concepts, values), the same of either half of a concept's bags

    @classmethod
    def load(cls, folders: Sequence[Path], sizes: npt.NDArray[np.int64]) -> "Gradients":
        """Read `*.npz` of some folders, in this order; `sizes` are of a sketch's layers.

        A file has `values` (bags, concepts, values of a sketch) to be multiplied by `scale`, and
        `told`, JSON: every concept's words.
        """
        sums: dict[tuple[str, ...], Floats] = {}  # (halves, values)
        for path in (path for folder in folders for path in sorted(folder.glob("*.npz"))):
            part = np.load(path)
            values = part["values"].astype(np.float32) * part["scale"]
            halves = np.stack([values[::2].sum(axis=0), values[1::2].sum(axis=0)], axis=1)
            for told, own in zip(json.loads(str(part["told"])), halves, strict=True):
                # Many bags would not fit into memory beside each other.
                sums[tuple(told)] = sums.get(tuple(told), 0) + own
        every = np.stack(list(sums.values()))
        return cls(
            [[text for text in told if text] for told in sums],
            unit_layers(every.sum(axis=1), sizes),
            unit_layers(every.reshape(-1, every.shape[-1]), sizes),
        )


@dataclass(frozen=True)
class Whitener:
    """Divides by how rows vary: (XᵀX + λ)^-1/2, in the kernel of fewer rows than values."""

    rows: Floats  # (n, values), centred
    vectors: Floats  # (n, kept)
    factors: Floats  # (kept,)
    damping: float

    @classmethod
    def fit(cls, rows: Floats, damping: float = DAMPING) -> "Whitener":
        centred = rows - rows.mean(axis=0)
        energies, vectors = np.linalg.eigh(centred @ centred.T)
        damped = damping * float(np.maximum(energies, 0).mean())
        kept = energies > energies[-1] * SMALLEST_SHARE
        energies = energies[kept]
        factors = (1 / np.sqrt(energies + damped) - 1 / np.sqrt(damped)) / energies
        return cls(centred, vectors[:, kept], factors.astype(np.float32), damped)

    def apply(self, values: Floats) -> Floats:
        """Whiten rows (m, values). The map is symmetric."""
        within: Floats = (values @ self.rows.T) @ (self.vectors * self.factors)
        whitened: Floats = values / self.damping**0.5 + within @ self.vectors.T @ self.rows
        return whitened


def fit_concepts(
    things: Gradients,
    sketches: Sequence[Sketch],
    text_encoder: TextEncoder,
    columns: float = COLUMNS,
    *,
    manners: Gradients | None = None,
) -> Concepts:
    """Learn keys of things, in so large a share of a sketch's values; of `manners` beside them too.

    Both are whitened by how things vary. `sketches` of adapters tell what adapters of the base have
    in common: training drifts where a first step does not. Only their mean is used.
    """
    whitener = Whitener.fit(things.halves)
    if manners is not None:
        told, values = [*manners.told, *things.told], [manners.values, things.values]
        things = Gradients(told, np.concatenate(values), things.halves)
    return _fit(things, whitener, sketches, text_encoder, columns)


def fit_looks(
    gradients: Gradients,
    sketches: Sequence[Sketch],
    text_encoder: TextEncoder,
    columns: float = COLUMNS,
) -> Concepts:
    """Learn keys of looks and effects alone; arguments are as of `fit_concepts`.

    Halves of a look's pictures show other things: whitened by how far they are apart, and not by
    how looks vary, what is left is the look.
    """
    apart = gradients.halves[::2] - gradients.halves[1::2]
    whitener = Whitener.fit(apart, DAMPING_OF_LOOKS)
    return _fit(gradients, whitener, sketches, text_encoder, columns)


def _fit(
    gradients: Gradients,
    whitener: Whitener,
    sketches: Sequence[Sketch],
    text_encoder: TextEncoder,
    columns: float,
) -> Concepts:
    keys = normalise(whitener.apply(gradients.values - gradients.halves.mean(axis=0)))
    # What is compared with is as an adapter's sketch is: the whitening of both is in the keys.
    keys = whitener.apply(keys)
    energies = np.square(keys).sum(axis=0)
    kept = np.sort(np.argsort(-energies)[: round(columns * len(energies))]).astype(np.int32)
    values = np.stack([sketch.values for sketch in sketches]).astype(np.float32)
    said = encode_captions(gradients.told, text_encoder)
    texts = normalise(np.stack([own.mean(axis=0) for own in said]))
    return Concepts(
        unit_layers(values, sketches[0].layout.sizes).mean(axis=0),
        kept,
        BitMatrix.of(keys[:, kept]),
        QuarterMatrix.of(texts),
    )
