"""Retrieval by the base's own gradients: adapters are compared with what is known of concepts.

`python -m demo.world.gradients` sketches what the base's loss says of some 4,000 names, effects and
looks. Adapters and they are whitened as in encoder/training/concepts.py, and an adapter's score for
a concept is their cosine. Either a question asks for the concepts whose words are like its own, or
an adapter says the words of those that it is most like, as shipped encoders do. No adapter is
trained on; a ridge that is may be added.
"""

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
from encoder.training.concepts import Gradients, Whitener
from encoder.training.train import encode_captions
from encoder.weight_encoders.concepts import nearest_shares, unit_layers
from encoder.weight_encoders.ridge import TextSpace

# Chosen on the validation adapters: how sharply a question picks concepts.
SHARPNESS = 25.0


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
    def vocabulary(self) -> Gradients:
        return Gradients.load(self.folder, self._sketches[1])

    @cached_property
    def scores(self) -> Floats:
        """Cosines of adapters and concepts, whitened: (adapters, concepts)."""
        sketches, _ = self._sketches
        known = self.vocabulary
        whitener = Whitener.fit(known.halves)
        concepts = normalise(whitener.apply(known.values - known.halves.mean(axis=0)))
        # Adapters have a mean of their own: training drifts where a first step does not.
        adapters = normalise(whitener.apply(sketches - sketches[self.train].mean(axis=0)))
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

    def in_words(self) -> Space:
        """Embed adapters as the words of the concepts that they are most like."""
        words = normalise(self.words - self.words.mean(axis=0))
        return Space(normalise(nearest_shares(self.scores) @ words), self.text.project)

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
