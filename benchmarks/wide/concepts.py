"""Retrieval by the base's own gradients: adapters are compared with what is known of concepts.

`python -m demo.world.gradients` sketches what the base's loss says of some 4,000 names, and of some
hundred effects and looks, made ones too. Adapters and they are whitened, names and manners each by
what varies between pictures of one, and an adapter's score for a concept is their cosine. Either a
question asks for the concepts whose words are like its own, or an adapter says the words of those
that it is most like. No adapter is trained on; a ridge that is may be added.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.arrays import Floats, Ints
from benchmarks.retrieval.zoo import Space
from benchmarks.wide.recipes import plain
from benchmarks.wide.zoo import WideZoo, of, sketch_in
from demo.paths import MANNERS, THINGS
from demo.world.listener import BASIS
from encoder.sketches.basis import Basis
from encoder.sketches.sketch import layout_of
from encoder.text_encoder import normalise
from encoder.training.concepts import Gradients, Whitener
from encoder.training.train import encode_captions
from encoder.weight_encoders.concepts import nearest_shares, unit_layers
from encoder.weight_encoders.text_space import TextSpace
from encoder.weight_encoders.voices import NEAREST_CONCEPTS, NEAREST_LOOKS

# Chosen on the validation adapters: how sharply a question picks concepts.
SHARPNESS = 25.0
# What the variance within concepts is damped by, relative to the mean energy of a row.
DAMPING = 1.0
# How much the words of manners count beside those of things; .5 to 1 tie on the shipped base.
SHARE_OF_MANNERS = 0.5


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
    def vocabularies(self) -> tuple[Gradients, Gradients]:
        """Things, and manners."""
        _, sizes = self._sketches
        things, manners = (
            Gradients.load([self.folder / part for part in parts], sizes)
            for parts in (THINGS, MANNERS)
        )
        return things, manners

    @cached_property
    def scores(self) -> tuple[Floats, Floats]:
        """Cosines of adapters and things, and manners, whitened: (adapters, concepts)."""
        things, manners = (self._cosines(known) for known in self.vocabularies)
        return things, manners

    def _cosines(self, known: Gradients) -> Floats:
        sketches, _ = self._sketches
        whitener = Whitener.fit(known.halves[::2] - known.halves[1::2], DAMPING)
        concepts = normalise(whitener.apply(known.values - known.values.mean(axis=0)))
        # Adapters have a mean of their own: training drifts where a first step does not.
        adapters = normalise(whitener.apply(sketches - sketches[self.train].mean(axis=0)))
        found: Floats = adapters @ concepts.T
        return found

    @cached_property
    def words(self) -> tuple[Floats, Floats]:
        """Unit rows (concepts, dim): what things and manners are called, in both languages."""
        things, manners = (self._embed(known.told) for known in self.vocabularies)
        return things, manners

    def _embed(self, told: list[list[str]]) -> Floats:
        said = encode_captions(told, self.zoo.text_encoder)
        return normalise(np.stack([self.text.project(own).mean(axis=0) for own in said]))

    def attend(self, questions: Floats) -> Floats:
        """Return how much of every concept is asked for, (n, concepts): a softmax over words."""
        alike = SHARPNESS * (self.text.project(questions) @ np.concatenate(self.words).T)
        shares = np.exp(alike - alike.max(axis=1, keepdims=True))
        asked: Floats = shares / shares.sum(axis=1, keepdims=True)
        return asked

    def alone(self) -> Space:
        return Space(np.concatenate(self.scores, axis=1), self.attend)

    def in_words(self) -> Space:
        """Embed adapters as the words of the concepts that they are most like."""
        mean = self.words[0].mean(axis=0)
        words = (normalise(own - mean) for own in self.words)
        about, how = (
            normalise(nearest_shares(scores, count) @ own)
            for scores, count, own in zip(
                self.scores, (NEAREST_CONCEPTS, NEAREST_LOOKS), words, strict=True
            )
        )
        return Space(normalise(about + SHARE_OF_MANNERS * how), self.text.project)

    def with_ridge(self, trained: Ints | None = None) -> Space:
        """Add a plain ridge's cosines; each part is measured in its spread over the trained."""
        ridge = plain(self.zoo, self.train if trained is None else trained).space
        scores = np.concatenate(self.scores, axis=1)
        scores -= scores[self.train].mean(axis=0)
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
