"""Gradients of concepts -> what an encoder holds adapters against.

Gradients, like adapters, have much in common whatever they are of. What varies between gradients
of one concept, and between concepts, is scaled down by whitening them; the rest tells concepts
apart (linear discriminant analysis [1], with a class for every concept).

- [1] Fisher, 1936, https://doi.org/10.1111/j.1469-1809.1936.tb02137.x
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from encoder.adapter.quarter_matrix import QuarterMatrix
from encoder.adapter.two_bit_matrix import TwoBitMatrix
from encoder.arrays import Floats
from encoder.sketches.sketch import Sketch
from encoder.text_encoder import TextEncoder, normalise
from encoder.training.layer_weights import learn_layer_weights
from encoder.training.train import encode_captions
from encoder.weight_encoders.concepts import Concepts, unit_layers

# What the variance is damped by, relative to the mean energy of a row; chosen on validation, of
# .3 to 30 for concepts, and of 1, 3 and 10 for looks.
DAMPING = 3.0
DAMPING_OF_LOOKS = 1.0
# Directions of less energy than this share of the strongest are noise of rounding.
SMALLEST_SHARE = 1e-6
# The share of a sketch's values that is kept, those that say most: a quarter
# keeps the tiny base's checkpoint small (docs/benchmarks/wide.md).
COLUMNS, COLUMNS_OF_LOOKS = 0.25, 0.2
# How many adapters of one concept tell what layers are to count, at least.
LEAST_SHOWN = 100


@dataclass(frozen=True)
class Gradients:
    """Concepts with words, gradients and the halves that tell how gradients vary."""

    told: list[list[str]]
    values: Floats  # (concepts, values of a sketch), every layer of length 1
    halves: Floats  # (2 * concepts, values), the same of either half of a concept's bags
    starts: tuple[int, ...] = (0,)  # where each kind of concept begins

    @classmethod
    def load(cls, folders: Sequence[Path], sizes: npt.NDArray[np.int64]) -> "Gradients":
        """Read `*.npz` of some folders, each a kind; `sizes` are of a sketch's layers.

        What is told alike in two of them is of the first kind. A file has `values` (bags, concepts,
        values of a sketch) to be multiplied by `scale`, and `told`, JSON: every concept's words.
        """
        sums: dict[tuple[str, ...], Floats] = {}  # (halves, values)
        starts = []
        for folder in folders:
            starts.append(len(sums))
            for path in sorted(folder.glob("*.npz")):
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
            tuple(starts),
        )

    def place(self, name: str, kind: int) -> int | None:
        """Return the place of the concept of a kind that is first called `name`, if any is."""
        return self._places[kind].get(name)

    @cached_property
    def _places(self) -> list[dict[str, int]]:
        ends = [*self.starts[1:], len(self.told)]
        return [
            {self.told[place][0]: place for place in range(start, end)}
            for start, end in zip(self.starts, ends, strict=True)
        ]


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
    shown: Sequence[int | None] = (),
) -> Concepts:
    """Learn keys of things, in so large a share of a sketch's values; of `manners` beside them too.

    Both are whitened by how things vary. `sketches` of adapters tell what adapters of the base have
    in common and how they vary: training drifts where a first step does not. `shown` are the places
    among things of what each of them shows, where that is known: these tell how much layers are to
    count for things, and are to be strangers, of whose pictures no gradient is.
    """
    whitener, adapters = Whitener.fit(things.halves), Varied.of(sketches)
    keys = _keys(things, whitener)
    known = {row: place for row, place in enumerate(shown) if place is not None}
    if len(known) >= LEAST_SHOWN:
        own, right = adapters.features[list(known)], np.array(list(known.values()))
        weights = learn_layer_weights(keys, own, right, adapters.sizes)
        keys *= weights.repeat(adapters.sizes)
    told, starts = things.told, things.starts
    if manners is not None:
        keys = np.concatenate([_keys(manners, whitener, things), keys])
        told = [*manners.told, *told]
        starts = (0, *(len(manners.told) + start for start in starts))
    return _in_fewer(keys, adapters, told, starts, text_encoder, columns)


def fit_looks(
    gradients: Gradients,
    sketches: Sequence[Sketch],
    text_encoder: TextEncoder,
    columns: float = COLUMNS_OF_LOOKS,
) -> Concepts:
    """Learn keys of looks and effects alone; arguments are as of `fit_concepts`.

    Halves of a look's pictures show other things: whitened by how far they are apart, and not by
    how looks vary, what is left is the look.
    """
    apart = gradients.halves[::2] - gradients.halves[1::2]
    keys = _keys(gradients, Whitener.fit(apart, DAMPING_OF_LOOKS))
    return _in_fewer(keys, Varied.of(sketches), gradients.told, (0,), text_encoder, columns)


@dataclass(frozen=True)
class Varied:
    """What adapters of a base have in common, and how each differs from that."""

    sizes: npt.NDArray[np.int64]  # of a sketch's layers
    means: Floats  # (values of a sketch,), of layers of length 1
    features: Floats  # (n, values of a sketch)

    @classmethod
    def of(cls, sketches: Sequence[Sketch]) -> "Varied":
        sizes = sketches[0].layout.sizes
        values = np.stack([sketch.values for sketch in sketches]).astype(np.float32)
        features = unit_layers(values, sizes)
        means = features.mean(axis=0)
        features -= means
        return cls(sizes, means, features)


def _keys(gradients: Gradients, whitener: Whitener, beside: Gradients | None = None) -> Floats:
    """Return what sketches as they are can be compared with, (concepts, values of a sketch).

    What all have in common is that of those `beside` them, or their own.
    """
    common = (gradients if beside is None else beside).halves.mean(axis=0)
    keys = normalise(whitener.apply(gradients.values - common))
    # The whitening of both sides is in the keys.
    return whitener.apply(keys)


def _in_fewer(
    keys: Floats,
    adapters: Varied,
    told: Sequence[Sequence[str]],
    starts: Sequence[int],
    text_encoder: TextEncoder,
    columns: float,
) -> Concepts:
    """Keep a share of the values, those that say most of adapters."""
    energies = np.square(keys).sum(axis=0) * np.square(adapters.features).mean(axis=0)
    kept = np.sort(np.argsort(-energies)[: round(columns * len(energies))]).astype(np.int32)
    said = encode_captions([list(words) for words in told], text_encoder)
    texts = normalise(np.stack([own.mean(axis=0) for own in said]))
    return Concepts(
        adapters.means,
        kept,
        TwoBitMatrix.of(_said_by(keys, adapters.features, kept)),
        QuarterMatrix.of(texts),
        np.array(starts, np.int32),
    )


def _said_by(keys: Floats, features: Floats, kept: npt.NDArray[np.int32]) -> Floats:
    """Return keys (concepts, kept) that score adapters as nearly as can be as whole ones do.

    What the values left out say is told by those kept as far as these vary together in adapters:
    ridge regression, damped by the mean energy of a value.
    """
    own = features[:, kept]
    missed = features @ keys.T - own @ keys[:, kept].T
    gram = own @ own.T
    damped = gram + np.trace(gram) / len(kept) * np.eye(len(gram), dtype=np.float32)
    # Of one adapter nothing varies.
    duals = np.linalg.solve(damped, missed) if gram.any() else np.zeros_like(missed)
    found: Floats = keys[:, kept] + (own.T @ duals).T
    return found
