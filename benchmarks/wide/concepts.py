"""Retrieval by the base's own gradients: adapters are compared with what is known of concepts.

`python -m demo.world.gradients` sketches what the base's loss says of some 4,000 names, effects and
looks. Here those and the adapters are whitened by how such gradients vary, so that what most of
them share counts little (linear discriminant analysis [1] with a class for every concept), and an
adapter's score for a concept is their cosine. A question asks for the concepts whose words are
like its own. No adapter is trained on; a ridge that is may be added.

- [1] Fisher, 1936, https://doi.org/10.1111/j.1469-1809.1936.tb02137.x
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.arrays import Floats, Ints
from benchmarks.retrieval.zoo import Space
from benchmarks.wide.recipes import plain
from benchmarks.wide.zoo import WideZoo, of, sketch_in
from demo.world.listener import BASIS
from encoder.sketches.basis import Basis
from encoder.sketches.sketch import layout_of
from encoder.text_encoder import normalise
from encoder.training.train import encode_captions
from encoder.weight_encoders.ridge import TextSpace

# Chosen on the validation adapters: what the variance is damped by, relative to the mean energy
# of a row; how sharply a question picks concepts.
DAMPING, SHARPNESS = 3.0, 25.0
# Directions of less energy than this share of the strongest are noise of rounding.
SMALLEST_SHARE = 1e-6


@dataclass(frozen=True)
class Vocabulary:
    """Concepts with words, gradients and the halves that tell how gradients vary."""

    told: list[list[str]]
    gradients: Floats  # (concepts, values), every layer of length 1
    halves: Floats  # (2 * concepts, values), the same of either half of a concept's bags

    @classmethod
    def load(cls, folder: Path, sizes: Ints) -> "Vocabulary":
        """Read what demo/world/gradients.py wrote; `sizes` are of a sketch's layers."""
        bags: dict[tuple[str, ...], list[Floats]] = defaultdict(list)
        for path in sorted(folder.glob("*/*.npz")):
            part = np.load(path)
            values = part["values"].astype(np.float32) * part["scale"]
            for place, told in enumerate(json.loads(str(part["told"]))):
                bags[tuple(told)].append(values[:, place])
        every = [np.concatenate(parts) for parts in bags.values()]
        halves = [half.sum(axis=0) for own in every for half in (own[::2], own[1::2])]
        return cls(
            [[text for text in told if text] for told in bags],
            unit_layers(np.stack([own.sum(axis=0) for own in every]), sizes),
            unit_layers(np.stack(halves), sizes),
        )


@dataclass(frozen=True)
class Whitener:
    """Divides by how rows vary: (XᵀX + λ)^-1/2, in the kernel of fewer rows than values."""

    rows: Floats  # (n, values), centred
    vectors: Floats  # (n, kept)
    factors: Floats  # (kept,)
    damping: float

    @classmethod
    def fit(cls, rows: Floats, damping: float) -> "Whitener":
        centred = rows - rows.mean(axis=0)
        energies, vectors = np.linalg.eigh(centred @ centred.T)
        damped = damping * float(np.maximum(energies, 0).mean())
        kept = energies > energies[-1] * SMALLEST_SHARE
        energies = energies[kept]
        factors = (1 / np.sqrt(energies + damped) - 1 / np.sqrt(damped)) / energies
        return cls(centred, vectors[:, kept], factors.astype(np.float32), damped)

    def apply(self, values: Floats) -> Floats:
        """Whiten rows (m, values) and scale them to length 1."""
        within: Floats = (values @ self.rows.T) @ (self.vectors * self.factors)
        whitened: Floats = values / self.damping**0.5 + within @ self.vectors.T @ self.rows
        return normalise(whitened)


@dataclass(frozen=True)
class Concepts:
    """How near every adapter of the zoo is to every concept, and how questions pick concepts."""

    zoo: WideZoo
    folder: Path
    train: Ints

    @cached_property
    def text(self) -> TextSpace:
        """As captions of one adapter differ, so do words for one concept."""
        return TextSpace.fit(of(self.zoo.captions, self.train))

    @cached_property
    def _sketches(self) -> tuple[Floats, Ints]:
        family = self.zoo.family
        basis = Basis.load(self.folder / BASIS)
        layout = layout_of(family, basis)
        own = [sketch_in(family, basis, layout, weights) for weights in self.zoo.adapters]
        sizes = np.array(layout.sizes)
        return unit_layers(np.stack([s.values for s in own]).astype(np.float32), sizes), sizes

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.load(self.folder, self._sketches[1])

    @cached_property
    def scores(self) -> Floats:
        """Cosines of adapters and concepts, whitened: (adapters, concepts)."""
        sketches, _ = self._sketches
        known = self.vocabulary
        whitener = Whitener.fit(known.halves, DAMPING)
        concepts = whitener.apply(known.gradients - known.halves.mean(axis=0))
        # Adapters have a mean of their own: training drifts where a first step does not.
        adapters = whitener.apply(sketches - sketches[self.train].mean(axis=0))
        found: Floats = adapters @ concepts.T
        return found

    @cached_property
    def words(self) -> Floats:
        """Unit rows (concepts, dim): what a concept is called, in both languages."""
        said = encode_captions(self.vocabulary.told, self.zoo.text_encoder)
        return normalise(np.stack([self.text.project(own).mean(axis=0) for own in said]))

    def attend(self, questions: Floats) -> Floats:
        """Return how much of every concept is asked for, (n, concepts): a softmax over words."""
        alike = SHARPNESS * (self.text.project(questions) @ self.words.T)
        shares = np.exp(alike - alike.max(axis=1, keepdims=True))
        asked: Floats = shares / shares.sum(axis=1, keepdims=True)
        return asked

    def alone(self) -> Space:
        return Space(self.scores, self.attend)

    def with_ridge(self, trained: Ints | None = None) -> Space:
        """Add a plain ridge's cosines; each part is measured in its spread over the trained."""
        ridge = plain(self.zoo, self.train if trained is None else trained).space
        scores = self.scores - self.scores[self.train].mean(axis=0)
        embeddings = ridge.embeddings - ridge.embeddings[self.train].mean(axis=0)

        def project(questions: Floats) -> Floats:
            parts = []
            for asked, own in (
                (self.attend(questions), scores),
                (ridge.project(questions), embeddings),
            ):
                spread = (asked @ own[self.train].T).std(axis=1, keepdims=True)
                parts.append(asked / spread)
            return np.concatenate(parts, axis=1)

        return Space(np.concatenate([scores, embeddings], axis=1), project)


def unit_layers(values: Floats, sizes: Ints) -> Floats:
    """Scale every layer's part of rows (n, values) to length 1."""
    scaled = np.empty_like(values)
    for stop, size in zip(np.cumsum(sizes), sizes, strict=True):
        scaled[:, stop - size : stop] = normalise(values[:, stop - size : stop])
    return scaled
