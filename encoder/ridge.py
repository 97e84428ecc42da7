"""Ridge regression from sketches to caption embeddings: the encoder that is shipped.

With hundreds of adapters to learn from, transformers memorise and ridge generalises
(docs/benchmarks.md). Solved in the kernel, then written out as a low-rank linear map.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from encoder.errors import SketchError, TrainingDataError
from encoder.metrics import mrr
from encoder.sketch import Sketch
from encoder.text_encoder import normalise

Floats = npt.NDArray[np.float32]

# Relative to the mean energy of a training adapter; the best is inside on every zoo tried.
PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
FOLDS = 5
ENCODE_BATCH = 256


@dataclass(frozen=True, slots=True, eq=False)
class TextSpace:
    """The space in which weights and texts meet: text embeddings less their mean."""

    centre: Floats  # (dim,)

    @classmethod
    def fit(cls, captions: Sequence[Floats]) -> "TextSpace":
        """Learn it from every training adapter's caption embeddings (captions, dim)."""
        return cls(np.mean([part.mean(axis=0) for part in captions], axis=0, dtype=np.float32))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {"text_centre": self.centre}

    @classmethod
    def restore(cls, arrays: Mapping[str, Any]) -> "TextSpace":
        return cls(np.asarray(arrays["text_centre"], np.float32))

    def project(self, embeddings: Floats) -> Floats:
        """Map text embeddings (n, dim) to unit rows (n, dim)."""
        return normalise(embeddings.astype(np.float32) - self.centre)


@dataclass(frozen=True, slots=True, eq=False)
class RidgeEncoder:
    """Linear in the sketch: embedding = normalise((x * scale - mean) @ down @ up)."""

    name: str
    base_model: str
    text_encoder: str
    sketch_version: str
    family: str
    layer_scales: Floats  # (layers,): makes layers' mean energies equal
    layer_means: Floats  # (layers, features): the mean training adapter, scaled
    down: Floats  # (layers * features, components)
    up: Floats  # (components, dim)
    text: TextSpace
    metrics: Mapping[str, Any] = field(default_factory=dict)

    kind: ClassVar[str] = "ridge"

    @property
    def dim(self) -> int:
        return int(self.up.shape[1])

    def encode(self, sketches: Sequence[Sketch]) -> Floats:
        """Return embeddings (n, dim), float32, each of length 1.

        A layer that an adapter lacks counts as the mean one, so it says nothing.

        Raises:
            SketchError: a sketch is of another version or base model.
        """
        embeddings = np.empty((len(sketches), self.dim), np.float32)
        for start in range(0, len(sketches), ENCODE_BATCH):
            batch = sketches[start : start + ENCODE_BATCH]
            check_sketches(batch, self.sketch_version, self.family)
            features: Floats = scaled_features(batch, self.layer_scales)
            features -= self.layer_means
            features[~np.stack([sketch.mask for sketch in batch])] = 0
            flat = features.reshape(len(batch), -1)
            embeddings[start : start + len(batch)] = flat @ self.down @ self.up
        return normalise(embeddings)

    def encode_query(self, text_embeddings: Floats) -> Floats:
        """Map text embeddings (n, dim) into the index's space, unit rows."""
        return self.text.project(text_embeddings)

    def details(self) -> dict[str, Any]:
        """Return what a checkpoint's header holds beside the facts of every encoder."""
        return {}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return what a checkpoint holds; the large arrays in float16."""
        return {
            "layer_scales": self.layer_scales,
            "layer_means": self.layer_means.astype(np.float16),
            "down": self.down.astype(np.float16),
            "up": self.up.astype(np.float16),
            **self.text.arrays(),
        }

    @classmethod
    def restore(
        cls, facts: Mapping[str, Any], details: Mapping[str, Any], arrays: Mapping[str, Any]
    ) -> "RidgeEncoder":
        """Build it from what `arrays` gave; `facts` are its other fields."""
        return cls(
            layer_scales=np.asarray(arrays["layer_scales"], np.float32),
            layer_means=np.asarray(arrays["layer_means"], np.float32),
            down=np.asarray(arrays["down"], np.float32),
            up=np.asarray(arrays["up"], np.float32),
            text=TextSpace.restore(arrays),
            **facts,
        )


def check_sketches(sketches: Sequence[Sketch], version: str, family: str) -> None:
    """Refuse sketches that an encoder was not made for."""
    for sketch in sketches:
        if (sketch.version, sketch.family) != (version, family):
            raise SketchError(
                f"a {sketch.version} sketch of {sketch.family} was given to an encoder of "
                f"{version} sketches of {family}; sketch the file again"
            )


def scaled_features(sketches: Sequence[Sketch], layer_scales: Floats) -> Floats:
    """Stack the sketches' features, each layer scaled: (n, layers, features)."""
    features = np.stack([sketch.features() for sketch in sketches])
    return features.reshape(*features.shape[:2], -1) * layer_scales[:, None]


def fit_layer_scales(sketches: Sequence[Sketch]) -> Floats:
    """Return 1 / sqrt(mean energy) of every layer over the adapters that have it."""
    energy = np.zeros(len(sketches[0].mask))
    count = np.zeros(len(sketches[0].mask))
    for sketch in sketches:
        energy += np.square(sketch.features(), dtype=np.float64).sum((1, 2))
        count += sketch.mask
    # Layers that no training adapter has stay silent.
    scales = np.sqrt(count / np.maximum(energy, 1e-30)) * (count > 0)
    return scales.astype(np.float32)


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


class KernelRidge:
    """Ridge regression in the kernel; solves for every penalty from one decomposition."""

    def __init__(self, kernel: Floats, targets: Floats) -> None:
        """`kernel` (train, train), not centred; `targets` (train, dim), centred."""
        self.centring = Centring.of(kernel)
        centred = self.centring.apply(kernel)
        self.energy = float(np.trace(centred)) / len(centred)
        values, self._vectors = np.linalg.eigh(centred)
        self._values = np.maximum(values, 0)
        self._rotated = self._vectors.T @ targets

    def duals(self, penalty: float) -> Floats:
        """Return the training adapters' coefficients (train, dim)."""
        damped = self._values + penalty * self.energy
        coefficients: Floats = self._vectors @ (self._rotated / damped[:, None])
        return coefficients

    def predict(self, kernel: Floats, penalty: float) -> Floats:
        """Predict (n, dim) from a kernel (n, train) with the training adapters."""
        predicted: Floats = self.centring.apply(kernel) @ self.duals(penalty)
        return predicted


def choose_penalty(
    kernel: Floats, captions: Sequence[Floats], *, seed: int = 0
) -> tuple[float, dict[float, float]]:
    """Cross-validate the penalty on training adapters alone, by MRR of their captions.

    `kernel` (train, train); `captions` each adapter's embeddings (its captions, dim).
    Returns the best penalty and every penalty's MRR.
    """
    count = len(captions)
    if count < 2 * FOLDS:
        raise TrainingDataError(f"{count} training adapters are too few; {2 * FOLDS} at least")
    fold_of = np.random.default_rng(seed).permutation(count) % FOLDS
    scores: dict[float, list[float]] = {penalty: [] for penalty in PENALTIES}
    for fold in range(FOLDS):
        train = np.flatnonzero(fold_of != fold).tolist()
        left = np.flatnonzero(fold_of == fold).tolist()
        space = TextSpace.fit([captions[i] for i in train])
        goals = targets_of([captions[i] for i in train], space)
        ridge = KernelRidge(kernel[np.ix_(train, train)], goals)
        queries = space.project(np.concatenate([captions[i] for i in left]))
        targets = np.repeat(np.arange(len(left)), [len(captions[i]) for i in left])
        for penalty in PENALTIES:
            gallery = normalise(ridge.predict(kernel[np.ix_(left, train)], penalty))
            scores[penalty].append(mrr(queries @ gallery.T, targets))
    means = {penalty: float(np.mean(values)) for penalty, values in scores.items()}
    return max(means, key=means.__getitem__), means


def targets_of(captions: Sequence[Floats], space: TextSpace) -> Floats:
    """Return what each adapter should be embedded as: the mean of its projected captions."""
    return np.stack([space.project(part).mean(axis=0) for part in captions])


def low_rank(features: Floats, duals: Floats, components: int) -> tuple[Floats, Floats]:
    """Write features.T @ duals as down @ up, keeping most of what it predicts.

    `features` (train, f) centred; the kept directions are those in which predictions for
    the training adapters vary most (reduced-rank regression). Scaled for float16.
    """
    predicted = features @ (features.T @ duals)
    _, _, directions = np.linalg.svd(predicted, full_matrices=False)
    up = directions[:components]
    down = features.T @ (duals @ up.T)
    # Embeddings are normalised, so one factor for all changes nothing.
    return (down / np.abs(down).max()).astype(np.float32), up.astype(np.float32)
