"""What recipes for an encoder are fitted on and judged by: training and validation adapters."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.retrieval.kernels import (
    base_activations,
    factors_by_layer,
    probe_kernel,
    product_of_grams,
)
from benchmarks.retrieval.zoo import BASE_MODEL, Space, Zoo
from encoder.adapter.lora_file import LoraWeights, read
from encoder.arrays import Floats, Ints
from encoder.sketches.basis import fit_basis
from encoder.sketches.sketch import Sketch, sketch
from encoder.text_encoder import normalise
from encoder.training.layer_scales import descend, without_diagonal
from encoder.training.train import encode_captions
from encoder.weight_encoders.autolora import family_of
from encoder.weight_encoders.layer_batch import LayerBatch, stack_weights
from encoder.weight_encoders.metrics import mrr
from encoder.weight_encoders.penalties import NEAREST_SHARE, QUERY_LENGTH, STRENGTH
from encoder.weight_encoders.ridge import (
    RIDGE_PENALTIES,
    Centring,
    KernelRidge,
    targets_of,
)
from encoder.weight_encoders.text_space import SHRINKAGE, TextSpace

WIDE_INPUTS = 8


@dataclass(frozen=True)
class Pool:
    """Adapters that recipes may see, and how alike they are; computed once, when asked for."""

    zoo: Zoo  # without held-out adapters
    adapters: list[LoraWeights]
    base: Path
    _learned: dict[tuple[str, bytes], Floats] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path, more: Path | None, base: Path) -> "Pool":
        zoo = without_held_out(Zoo.load(folder, more))
        return cls(zoo, [read(path) for path in zoo.paths], base)

    @cached_property
    def captions(self) -> list[Floats]:
        """Every adapter's, in both languages, English first: (captions, dim) each."""
        return self.zoo.both

    @cached_property
    def rephrased(self) -> list[Floats]:
        """Every medium and long caption once more, half of its words left out."""
        rng = np.random.default_rng(0)
        texts = [[halved(text, rng) for text in own if cuts(text)] for own in self.zoo.captions]
        return encode_captions(texts, self.zoo.text_encoder)

    @cached_property
    def train(self) -> Ints:
        return np.array(self.zoo.indices("train"))

    @cached_property
    def sketches(self) -> list[Sketch]:
        return [sketch(adapter) for adapter in self.adapters]

    @cached_property
    def batch(self) -> LayerBatch:
        return stack_weights(family_of(BASE_MODEL), self.adapters)

    @cached_property
    def features(self) -> Floats:
        """The sketches' directions, (n, values)."""
        return np.stack([own.values for own in self.sketches]).astype(np.float32)

    @cached_property
    def grams(self) -> Floats:
        """How alike sketches are in every layer, (layers, n, n)."""
        return layer_grams(self.features, self.sketches[0].layout.sizes)

    @cached_property
    def wide_grams(self) -> Floats:
        """The same in more learned inputs."""
        trained = [self.adapters[i] for i in self.train]
        basis = fit_basis(family_of(BASE_MODEL), trained, WIDE_INPUTS)
        made = [sketch(adapter, basis=basis) for adapter in self.adapters]
        values = np.stack([own.values for own in made]).astype(np.float32)
        return layer_grams(values, made[0].layout.sizes)

    @cached_property
    def exact_grams(self) -> Floats:
        """The same of whole ΔW."""
        return self._gram_of_each_layer(lambda down, up: product_of_grams(down, up.mT))

    @cached_property
    def output_grams(self) -> Floats:
        """How much of the outputs that two adapters change is the same, in every layer."""
        return self._gram_of_each_layer(shared_outputs)

    def _gram_of_each_layer(self, compare: Callable[[Tensor, Tensor], Tensor]) -> Floats:
        """Compare all adapters in every layer, (layers, n, n), by its downs and ups."""
        family, count = family_of(BASE_MODEL), len(self.adapters)
        grams = np.empty((len(family.block_layers), count, count), np.float32)
        for place, down, up in factors_by_layer(family, self.batch):
            grams[place] = compare(down, up).numpy()
        return grams

    def layer_weights(self, grams: str, train: Ints) -> Floats:
        """Return the weights of Gram matrices named, as layer_scales learns them."""
        key = (grams, train.tobytes())
        if key not in self._learned:
            captions = [self.captions[i] for i in train]
            space = TextSpace.fit(captions)
            targets = targets_of(captions, space)
            targets -= targets.mean(axis=0)
            own: Floats = getattr(self, grams)
            start = np.square(alignments(own, targets, train))
            speaking = np.flatnonzero(start > 0)
            centred = torch.empty(len(speaking), len(train) ** 2)
            for row, layer in enumerate(speaking):
                gram = own[layer][np.ix_(train, train)]
                centred[row] = torch.from_numpy(Centring.of(gram).apply(gram)).flatten()
            queries = torch.from_numpy(space.project(np.concatenate(captions)))
            owners = torch.arange(len(train)).repeat_interleave(len(captions[0]))
            logs = torch.from_numpy(start[speaking]).log()
            goals = torch.from_numpy(targets)
            weights = np.zeros_like(start)
            weights[speaking] = descend(centred, goals, queries, owners, logs).exp().numpy()
            self._learned[key] = weights
        return self._learned[key]

    @cached_property
    def probes(self) -> Floats:
        """How alike answers to the base's own activations are, (n, n)."""
        family = family_of(BASE_MODEL)
        return probe_kernel(family, self.batch, base_activations(self.base, family))

    @cached_property
    def behaviour(self) -> Floats:
        """How alike adapters move the base's answers, (n, n); strengths left out."""
        # Loads diffusers, which few recipes need.
        from benchmarks.recipes.behaviour import behaviours

        moved = normalise(behaviours(self.base, self.adapters))
        alike: Floats = moved @ moved.T
        return alike


def cuts(text: str) -> list[str]:
    """Return the parts that a caption can do without: its words, in Chinese those listed."""
    parts = re.split(r"(?<=[、，：])|(?<= )", text)
    return parts if len(parts) > 3 else []


def halved(text: str, rng: np.random.Generator) -> str:
    """Leave out half of a caption, at random."""
    parts = cuts(text)
    kept = np.sort(rng.permutation(len(parts))[: (len(parts) + 1) // 2])
    return "".join(parts[i] for i in kept)


def shared_outputs(down: Tensor, up: Tensor) -> Tensor:
    """Return how much of the outputs that two adapters change is the same, (n, n)."""
    count = len(up)
    vectors, values, _ = torch.linalg.svd(up @ square_root(down), full_matrices=False)
    # Directions that are only padding of a smaller rank are none.
    vectors = vectors * (values > 1e-4 * values[:, :1]).unsqueeze(1)
    rows = vectors.mT.flatten(0, 1)
    both = (rows @ rows.T).square().view(count, len(rows) // count, count, -1)
    shared: Tensor = both.sum((1, 3))
    return shared


def square_root(down: Tensor) -> Tensor:
    """Return C with C Cᵀ = A Aᵀ, so that B C has the left singular vectors of B A."""
    values, vectors = torch.linalg.eigh(down @ down.mT)
    root: Tensor = vectors * values.clamp(min=0).sqrt().unsqueeze(-2)
    return root


def without_held_out(zoo: Zoo) -> Zoo:
    kept = [i for i, split in enumerate(zoo.splits) if split != "held-out"]

    return replace(
        zoo,
        paths=[zoo.paths[i] for i in kept],
        kinds=[zoo.kinds[i] for i in kept],
        splits=[zoo.splits[i] for i in kept],
        captions=[zoo.captions[i] for i in kept],
        english=[zoo.english[i] for i in kept],
        chinese=[zoo.chinese[i] for i in kept],
        listed=sum(i < zoo.listed for i in kept),
    )


def layer_grams(features: Floats, sizes: Ints) -> Floats:
    """Return a Gram matrix for each part of the columns, (parts, n, n)."""
    grams = np.empty((len(sizes), len(features), len(features)), np.float32)
    for part, (stop, size) in enumerate(zip(np.cumsum(sizes), sizes, strict=True)):
        own = features[:, stop - size : stop]
        np.matmul(own, own.T, out=grams[part])
    return grams


def alignments(grams: Floats, targets: Floats, train: Ints) -> Floats:
    """Return each Gram's alignment with the targets' (see layer_scales), 0 at least."""
    wanted = without_diagonal(targets @ targets.T)
    found = np.zeros(len(grams), np.float32)
    for place, gram in enumerate(grams):
        own = gram[np.ix_(train, train)]
        centred = without_diagonal(Centring.of(own).apply(own))
        length = np.linalg.norm(centred)
        found[place] = max(0.0, (centred * wanted).sum() / length) if length > 0 else 0.0
    return found


def weighted(grams: Floats, weights: npt.NDArray[np.floating[Any]]) -> Floats:
    """Return Σ weight · Gram, (n, n)."""
    total: Floats = np.tensordot(weights.astype(np.float32), grams, axes=1)
    return total


class LeaveOneOutRidge(KernelRidge):
    """Kernel ridge that also predicts every training adapter from the others, exactly [1].

    - [1] Elisseeff and Pontil, 2003, Leave-one-out error and stability of learning algorithms
    """

    def __init__(self, kernel: Floats, targets: Floats) -> None:
        super().__init__(kernel, targets)
        self.targets = targets

    def left_out(self, penalty: float) -> Floats:
        """Return predictions (train, dim), each relative to the mean of the others."""
        count = len(self.targets)
        damped = penalty * self.energy / (self._values + penalty * self.energy)
        residuals = self._vectors @ (self._rotated * damped[:, None])
        # The mean is fitted as well: it takes one part in `count` of everyone's leverage, and
        # the mean of the others lies off zero.
        spare = np.square(self._vectors) @ damped - 1 / count
        predicted: Floats = self.targets - residuals / spare[:, None] + self.targets / (count - 1)
        return predicted.astype(np.float32)

    def best_penalty(self, space: TextSpace, captions: Sequence[Floats]) -> float:
        """Return the penalty with which left-out adapters are found best by their captions."""
        queries = space.project(np.concatenate(captions))
        targets = np.repeat(np.arange(len(captions)), [len(own) for own in captions])
        found = {
            penalty: mrr(queries @ normalise(self.left_out(penalty)).T, targets)
            for penalty in RIDGE_PENALTIES
        }
        return max(found, key=found.__getitem__)


@dataclass(frozen=True)
class Linear:
    """A fitted ridge: where texts live, what it predicts for all, and for those left out."""

    space: TextSpace
    ridge: LeaveOneOutRidge
    penalty: float
    predicted: Floats  # (n, dim), all adapters'
    said: Floats  # training captions in the space

    @classmethod
    def fit(
        cls, pool: Pool, train: Ints, kernel: Floats, space: TextSpace, targets: Floats
    ) -> "Linear":
        """Fit a kernel (n, n) to targets (train, dim); the penalty by leaving one out."""
        captions = [pool.captions[i] for i in train]
        ridge = LeaveOneOutRidge(kernel[np.ix_(train, train)], targets - targets.mean(axis=0))
        penalty = ridge.best_penalty(space, captions)
        predicted = ridge.predict(kernel[:, train], penalty)
        return cls(space, ridge, penalty, predicted, space.project(np.concatenate(captions)))

    def embed(self, train: Ints, strength: float = STRENGTH) -> Space:
        """Return all adapters' embeddings, with penalties."""
        return cautious(normalise(self.predicted), self.space.project, self.said, train, strength)


def cautious(
    embeddings: Floats,
    project: Callable[[Floats], Floats],
    said: Floats,
    train: Ints,
    strength: float = STRENGTH,
) -> Space:
    """Hold against embeddings what lies near many training captions, as penalties does."""
    similarity = embeddings @ said.T
    count = max(1, round(NEAREST_SHARE * similarity.shape[1]))
    hubness = np.partition(similarity, -count, axis=1)[:, -count:].mean(axis=1)
    against = strength * (hubness - hubness[train].mean()) / QUERY_LENGTH

    def with_axis(queries: Floats) -> Floats:
        projected = project(queries)
        return np.pad(projected, ((0, 0), (0, 1)), constant_values=QUERY_LENGTH)

    return Space(normalise(np.concatenate([embeddings, -against[:, None]], axis=1)), with_axis)


def whitened(centre: Floats, spread: Floats, shrinkage: float = SHRINKAGE) -> TextSpace:
    """Return the text space in which rows of `spread` differ alike in all directions."""
    covariance = spread.T @ spread / len(spread)
    values, vectors = np.linalg.eigh(covariance)
    shrunk = np.maximum(values, 0) / values.mean() + shrinkage
    whiten: Floats = (vectors / np.sqrt(shrunk)) @ vectors.T
    return TextSpace(centre, whiten.astype(np.float32))


def plain_targets(pool: Pool, train: Ints, space: TextSpace) -> Floats:
    return targets_of([pool.captions[i] for i in train], space)
