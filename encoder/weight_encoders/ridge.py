"""Ridge regression from sketches to caption embeddings: the encoder that is shipped.

With hundreds of adapters to learn from, transformers memorise and ridge generalises
(docs/benchmarks.md). Solved in the kernel, then written out as a low-rank linear map.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from encoder.adapter.quarter_matrix import QuarterMatrix
from encoder.arrays import Floats
from encoder.errors import SketchError, TrainingDataError
from encoder.text_encoder import normalise
from encoder.weight_encoders.metrics import mrr
from encoder.weight_encoders.penalties import Penalties
from encoder.weight_encoders.text_space import TextSpace
from encoder.weight_encoders.voices import Known, say
from encoder.weight_encoders.what_and_how import WhatAndHow

# Only for annotations: a search needs the encoder, and nothing that reads files.
if TYPE_CHECKING:
    from encoder.sketches.sketch import Sketch

# Penalties of the regression to choose from, relative to the mean energy of a training adapter;
# the best is inside on the zoo.
RIDGE_PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
FOLDS = 5
# The share of unseen adapters, of the kind trained on, that are trusted less than fully. Of art
# that the miniature world does not know, .2 takes a fifth from what seems near a question by
# mistake, and 3 % from what is rightly near (docs/benchmarks/retrieval.md).
LEAST_TRUSTED = 0.2
# Sketches whose features are made at once: each is up to 2 MB of them, and those of all that are
# trained on may not fit into memory.
ENCODE_BATCH = 256


@dataclass(frozen=True, slots=True, eq=False)
class RidgeEncoder:
    """Linear in the sketch: embedding = normalise((x * scale - mean) @ down @ up).

    With `known`, the words of concepts and looks are added, each as far as it is believed
    (voices.py, beliefs.py). With penalties, what is held against an adapter is written into free
    axes of it. With `heard`, what and how count both in a question (what_and_how.py).
    """

    name: str
    base_model: str
    text_encoder: str
    sketch_version: str
    family: str
    layer_scales: Floats  # (layers,): how much each layer says
    means: Floats  # (values of a sketch,): the mean training adapter, scaled
    down: QuarterMatrix  # (values of a sketch, components)
    up: Floats  # (components, dim)
    text: TextSpace
    penalties: Penalties | None = None
    # How long predictions are of adapters like those trained on, next to their features: what is
    # shorter is trusted less (`usual_length`). Without penalties nothing is.
    usual_length: float = 0.0
    known: Known | None = None
    # How a question that says what and how is heard; None: as one text.
    heard: WhatAndHow | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)

    kind: ClassVar[str] = "ridge"

    @property
    def dim(self) -> int:
        return int(self.up.shape[1])

    def encode(self, sketches: Sequence["Sketch"]) -> Floats:
        """Return embeddings (n, dim), float32, each of length 1.

        A layer that an adapter lacks counts as the mean one, so it says nothing. An adapter of
        only such layers, and of those that say nothing anyway, is embedded as wholly doubted.

        Raises:
            SketchError: a sketch is of another version or base model, or an adapter says nothing
                and there are no penalties, with which doubt is written.
        """
        embeddings = np.empty((len(sketches), self.dim), np.float32)
        for start in range(0, len(sketches), ENCODE_BATCH):
            batch = sketches[start : start + ENCODE_BATCH]
            embeddings[start : start + len(batch)] = self._encode(batch)
        return embeddings

    def _encode(self, sketches: Sequence["Sketch"]) -> Floats:
        features = self._features(sketches)
        coordinates = self.down.apply(features)
        predictions: Floats = coordinates @ self.up
        lengths = np.linalg.norm(predictions, axis=1, keepdims=True)
        if not lengths.all():
            return self._encode_around(sketches, lengths[:, 0] == 0)
        embeddings, coordinates = predictions / lengths, coordinates / lengths
        trust = np.ones(len(sketches), np.float32)
        if self.known is not None:
            embeddings, trust = self.known.join(predictions, features, sketches, self.text)
        elif self.usual_length > 0:
            own = lengths[:, 0] / np.linalg.norm(features, axis=1)
            trust = np.minimum(trust, own / self.usual_length)
        if self.penalties is None:
            return normalise(embeddings)
        weights = np.square(self.layer_scales)
        mask = np.stack([sketch.mask for sketch in sketches])
        share = (mask @ weights / weights.sum()).astype(np.float32)
        return self.penalties.apply(embeddings, coordinates, share, trust)

    def _encode_around(self, sketches: Sequence["Sketch"], silent: npt.NDArray[np.bool_]) -> Floats:
        """Encode sketches of which some say nothing: no question is near those."""
        if self.penalties is None:
            raise SketchError("an adapter changes only layers that say nothing of its subject")
        embeddings = np.tile(self.penalties.nothing(), (len(sketches), 1))
        if not silent.all():
            told = [sketch for sketch, own in zip(sketches, silent, strict=True) if not own]
            embeddings[~silent] = self._encode(told)
        return embeddings

    def voices(self, sketches: Sequence["Sketch"]) -> dict[str, Floats]:
        """Return what each voice says by itself, (n, dim), unit rows: see `say`."""
        if self.known is None:
            raise ValueError(f"{self.name} knows no concepts and looks")
        predictions, features = self.coordinates(sketches) @ self.up, self._features(sketches)
        vocabularies = self.known.concepts, self.known.looks
        return say(*vocabularies, predictions, features, sketches, self.text).voices

    def coordinates(self, sketches: Sequence["Sketch"]) -> Floats:
        """Return what `up` maps to predictions, (n, components)."""
        coordinates = np.empty((len(sketches), len(self.up)), np.float32)
        for start in range(0, len(sketches), ENCODE_BATCH):
            batch = sketches[start : start + ENCODE_BATCH]
            coordinates[start : start + len(batch)] = self.down.apply(self._features(batch))
        return coordinates

    def _features(self, sketches: Sequence["Sketch"]) -> Floats:
        """Return what the map is linear in, (n, values of a sketch)."""
        check_sketches(sketches, self.sketch_version, self.family)
        features = scaled_features(sketches, self.layer_scales) - self.means
        mask = np.stack([sketch.mask for sketch in sketches])
        features *= mask.repeat(sketches[0].layout.sizes, axis=1)
        return features

    def encode_query(self, text_embeddings: Floats) -> Floats:
        """Map text embeddings (n, dim) into the index's space, unit rows."""
        projected = self.text.project(text_embeddings)
        return projected if self.penalties is None else self.penalties.of_queries(projected)

    def encode_question(self, text_embeddings: Floats) -> Floats:
        """Map a question and its parts (1 + parts, dim) to one query (dim,), of length 1."""
        if self.heard is None or len(text_embeddings) == 1:
            return np.asarray(self.encode_query(text_embeddings[:1])[0])
        hear = None if self.known is None else partial(self.known.hear, text=self.text)
        projected = self.text.project(text_embeddings)
        joined = self.heard.join(projected, text_embeddings[1:], hear)
        return joined if self.penalties is None else self.penalties.of_queries(joined[None])[0]

    def encode_caption_query(self, text_embeddings: Floats) -> Floats:
        """Map text embeddings (n, dim) to what plain ones of captions are compared with."""
        return self.text.aim(text_embeddings)

    def details(self) -> dict[str, Any]:
        """Return what a checkpoint's header holds beside the facts of every encoder."""
        return {}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return what a checkpoint holds."""
        return {
            "layer_scales": self.layer_scales,
            "means": self.means.astype(np.float16),
            **self.down.arrays("down"),
            "up": self.up.astype(np.float16),
            **self.text.arrays(),
            **({} if self.penalties is None else self.penalties.arrays()),
            **({"usual_length": np.array([self.usual_length])} if self.usual_length else {}),
            **({} if self.known is None else self.known.arrays()),
            **({} if self.heard is None else self.heard.arrays()),
        }

    @classmethod
    def restore(
        cls, facts: Mapping[str, Any], details: Mapping[str, Any], arrays: Mapping[str, Any]
    ) -> "RidgeEncoder":
        """Build it from what `arrays` gave; `facts` are its other fields."""
        means = np.asarray(arrays["means"], np.float32)
        up = np.asarray(arrays["up"], np.float32)
        encoder = cls(
            layer_scales=np.asarray(arrays["layer_scales"], np.float32),
            means=means,
            down=QuarterMatrix.restore(arrays, "down", len(means)),
            up=up,
            text=TextSpace.restore(arrays),
            penalties=Penalties.restore(arrays, len(up)),
            usual_length=float(arrays["usual_length"][0]) if "usual_length" in arrays else 0.0,
            known=Known.restore(arrays, len(means)),
            heard=WhatAndHow.restore(arrays),
            **facts,
        )
        # It would be another encoder without what it holds beside these.
        if surplus := arrays.keys() - encoder.arrays().keys():
            raise ValueError(f"{min(surplus)!r} of its {len(arrays)} arrays is not known here")
        return encoder


def check_sketches(sketches: Sequence["Sketch"], version: str, family: str) -> None:
    """Refuse sketches that an encoder was not made for."""
    for sketch in sketches:
        if (sketch.version, sketch.family) != (version, family):
            raise SketchError(
                f"a {sketch.version} sketch of {sketch.family} was given to an encoder of "
                f"{version} sketches of {family}; sketch the file again"
            )


def scaled_features(sketches: Sequence["Sketch"], layer_scales: Floats) -> Floats:
    """Stack the directions of the sketches' layers, scaled: (n, values of a sketch).

    Strengths are left out: how hard an adapter was trained says little of its subject, and
    without them a layer changed little counts like the others.
    """
    values = np.stack([sketch.values for sketch in sketches]).astype(np.float32)
    values *= layer_scales.repeat(sketches[0].layout.sizes)
    return values


def layer_features(
    sketches: Sequence["Sketch"], layer_scales: Floats, means: Floats | None = None
) -> Iterator[Floats]:
    """Yield `scaled_features` layer by layer, (n, values of the layer), less `means` if given.

    Those of thousands of adapters of a large base do not fit into memory together.
    """
    layout = sketches[0].layout
    stops = np.cumsum(layout.sizes)
    for layer, (scale, stop, size) in enumerate(
        zip(layer_scales, stops, layout.sizes, strict=True)
    ):
        part = slice(stop - size, stop)
        values = np.stack([sketch.values[part] for sketch in sketches]).astype(np.float32)
        values *= scale
        if means is not None:
            values -= means[part]
            values *= np.array([[sketch.mask[layer]] for sketch in sketches])
        yield values


@dataclass(frozen=True, slots=True, eq=False)
class Centring:
    """Moves kernels' origin to the mean of the training adapters."""

    row_means: Floats  # (train,)
    mean: float

    @classmethod
    def of(cls, kernel: Floats) -> "Centring":
        """Learn it from the training adapters' own kernel (train, train)."""
        return cls(kernel.mean(axis=0), float(kernel.mean()))

    def apply(self, kernel: Floats) -> Floats:
        """Centre a kernel (n, train) between any adapters and those for training."""
        centred: Floats = kernel - kernel.mean(axis=1, keepdims=True) - self.row_means + self.mean
        return centred


class UncentredRidge:
    """Ridge regression in the kernel; solves for every penalty from one decomposition."""

    def __init__(self, kernel: Floats, targets: Floats) -> None:
        """`kernel` (train, train) of features whose origin stays; `targets` (train, dim)."""
        self.energy = float(np.trace(kernel)) / len(kernel)
        values, self._vectors = np.linalg.eigh(kernel)
        self._values = np.maximum(values, 0)
        self._rotated = self._vectors.T @ targets

    def duals(self, penalty: float) -> Floats:
        """Return the training adapters' coefficients (train, dim)."""
        damped = self._values + penalty * self.energy
        coefficients: Floats = self._vectors @ (self._rotated / damped[:, None])
        return coefficients

    def predict(self, kernel: Floats, penalty: float) -> Floats:
        """Predict (n, dim) from a kernel (n, train) with the training adapters."""
        predicted: Floats = kernel @ self.duals(penalty)
        return predicted


class KernelRidge(UncentredRidge):
    """The same around the mean of the training adapters."""

    def __init__(self, kernel: Floats, targets: Floats) -> None:
        """`kernel` (train, train), not centred; `targets` (train, dim), centred."""
        self.centring = Centring.of(kernel)
        super().__init__(self.centring.apply(kernel), targets)

    def predict(self, kernel: Floats, penalty: float) -> Floats:
        return super().predict(self.centring.apply(kernel), penalty)


def split_folds(
    count: int, groups: Sequence[int] | None, seed: int
) -> list[tuple[list[int], list[int]]]:
    """Return for each fold whom to train on and whom to leave out; a group stays together."""
    members = np.arange(count) if groups is None else np.unique(groups, return_inverse=True)[1]
    most = int(members.max(initial=-1)) + 1
    fold_of = (np.random.default_rng(seed).permutation(most) % FOLDS)[members]
    return [
        (np.flatnonzero(fold_of != fold).tolist(), np.flatnonzero(fold_of == fold).tolist())
        for fold in range(FOLDS)
    ]


def choose_penalty(
    kernel: Floats,
    captions: Sequence[Floats],
    *,
    groups: Sequence[int] | None = None,
    seed: int = 0,
) -> tuple[float, dict[float, float]]:
    """Cross-validate the penalty on training adapters alone, by MRR of their captions.

    `kernel` (train, train); `captions` each adapter's embeddings (its captions, dim). Adapters of
    one of `groups` are never on both sides. Returns the best penalty and every penalty's MRR.

    Raises:
        TrainingDataError: there are too few adapters, or groups.
    """
    count = len(captions)
    check_enough(count, count if groups is None else len(set(groups)))
    scores: dict[float, list[float]] = {penalty: [] for penalty in RIDGE_PENALTIES}
    for train, left in split_folds(count, groups, seed):
        space = TextSpace.fit([captions[i] for i in train])
        goals = targets_of([captions[i] for i in train], space)
        ridge = KernelRidge(kernel[np.ix_(train, train)], goals)
        queries = space.project(np.concatenate([captions[i] for i in left]))
        targets = np.repeat(np.arange(len(left)), [len(captions[i]) for i in left])
        for penalty in RIDGE_PENALTIES:
            gallery = normalise(ridge.predict(kernel[np.ix_(left, train)], penalty))
            scores[penalty].append(mrr(queries @ gallery.T, targets))
    means = {penalty: float(np.mean(values)) for penalty, values in scores.items()}
    return max(means, key=means.__getitem__), means


def check_enough(adapters: int, authors: int) -> None:
    """Refuse to cross-validate on fewer than there have to be."""
    if adapters < 2 * FOLDS:
        raise TrainingDataError(f"{adapters} training adapters are too few; {2 * FOLDS} at least")
    if authors < FOLDS:
        raise TrainingDataError(
            f"{adapters} training adapters of {authors} authors are too few; of {FOLDS} at least"
        )


def usual_length(
    kernel: Floats,
    captions: Sequence[Floats],
    penalty: float,
    *,
    groups: Sequence[int] | None,
    seed: int,
) -> float:
    """Return how long predictions of unseen adapters are, next to their features.

    A ridge says by the length of a prediction how far it knows an adapter: one unlike all that was
    trained on is drawn towards the mean. This is the length that all but the worst fifth have of
    those that one fold of cross-validation leaves out; arguments are those of `choose_penalty`.
    """
    train, left = split_folds(len(captions), groups, seed)[0]
    space = TextSpace.fit([captions[i] for i in train])
    goals = targets_of([captions[i] for i in train], space)
    ridge = KernelRidge(kernel[np.ix_(train, train)], goals - goals.mean(axis=0))
    across = kernel[np.ix_(left, train)]
    lengths = np.linalg.norm(ridge.predict(across, penalty), axis=1)
    squares = np.diagonal(kernel)[left] - 2 * across.mean(axis=1) + ridge.centring.mean
    return float(np.quantile(lengths / np.sqrt(np.maximum(squares, 1e-12)), LEAST_TRUSTED))


def targets_of(captions: Sequence[Floats], space: TextSpace) -> Floats:
    """Return what each adapter should be embedded as: the mean of its projected captions."""
    return np.stack([space.project(part).mean(axis=0) for part in captions])


def low_rank(
    features: Iterable[Floats], predicted: Floats, duals: Floats, components: int
) -> tuple[QuarterMatrix, Floats]:
    """Write features.T @ duals as down @ up, keeping most of what it predicts.

    `features` are parts (train, some) of all, centred or not: `duals` (train, dim) add up to
    nothing. `predicted` (train, dim) is what they predict for the training adapters; the kept
    directions are those in which it varies most (reduced-rank regression).
    """
    _, _, directions = np.linalg.svd(predicted, full_matrices=False)
    up = directions[:components].astype(np.float16).astype(np.float32)
    kept = duals @ up.T
    return QuarterMatrix.of(np.concatenate([part.T @ kept for part in features])), up
