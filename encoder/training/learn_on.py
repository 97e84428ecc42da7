"""A ridge encoder, and adapters that it was not trained on -> one that knows these as well.

What it misses of their captions is learned, by ridge regression too, and added to what it says.
So a few adapters of one kind do not make it forget others, nor many of one world those of another.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from encoder.adapter.quarter_matrix import QuarterMatrix
from encoder.arrays import Floats
from encoder.text_encoder import normalise
from encoder.training.train import COMPONENTS, SketchedAdapters
from encoder.weight_encoders.metrics import mrr
from encoder.weight_encoders.penalties import Penalties
from encoder.weight_encoders.ridge import (
    LEAST_TRUSTED,
    RIDGE_PENALTIES,
    RidgeEncoder,
    UncentredRidge,
    check_enough,
    layer_features,
    split_folds,
    targets_of,
)


@dataclass(frozen=True)
class Missed:
    """What an encoder misses of the captions of adapters to learn from."""

    encoder: RidgeEncoder
    adapters: SketchedAdapters
    seed: int = 0

    def features(self) -> Iterator[Floats]:
        """Yield what the map is linear in, layer by layer."""
        return layer_features(self.adapters.sketches, self.encoder.layer_scales, self.encoder.means)

    @cached_property
    def targets(self) -> Floats:
        return targets_of(self.adapters.captions, self.encoder.text)

    @cached_property
    def said(self) -> Floats:
        """What the encoder's ridge predicts as it is, (n, dim)."""
        return self.encoder.coordinates(self.adapters.sketches) @ self.encoder.up

    @cached_property
    def kernel(self) -> Floats:
        kernel = np.zeros((len(self.targets), len(self.targets)), np.float32)
        for part in self.features():
            kernel += part @ part.T
        return kernel

    @cached_property
    def folds(self) -> list[tuple[list[int], list[int]]]:
        groups = self.adapters.groups
        check_enough(len(self.targets), len(set(groups or range(len(self.targets)))))
        return split_folds(len(self.targets), groups, self.seed)

    def left_out(self) -> dict[float, Floats]:
        """Return what each penalty predicts of every adapter where it is not learned from."""
        found = {penalty: self.said.copy() for penalty in RIDGE_PENALTIES}
        for train, left in self.folds:
            missed = self.targets[train] - self.said[train]
            ridge = UncentredRidge(self.kernel[np.ix_(train, train)], missed)
            across = self.kernel[np.ix_(left, train)]
            for penalty, predicted in found.items():
                predicted[left] += ridge.predict(across, penalty)
        return found

    def usual_length(self, predicted: Floats) -> float:
        """See `usual_length` in encoder/weight_encoders/ridge.py."""
        lengths = np.linalg.norm(predicted, axis=1)
        own = np.sqrt(np.maximum(np.diagonal(self.kernel), 1e-12))
        return float(np.quantile(lengths / own, LEAST_TRUSTED))

    def mrr_of_folds(self, predicted: Floats) -> list[float]:
        """Return how adapters left out are found by their captions, among those of each fold."""
        gallery, found = normalise(predicted), []
        for _, left in self.folds:
            captions = [self.adapters.captions[place] for place in left]
            queries = self.encoder.text.project(np.concatenate(captions))
            targets = np.repeat(np.arange(len(left)), [len(own) for own in captions])
            found.append(mrr(queries @ gallery[left].T, targets))
        return found


def largest_that_ties(found: Mapping[float, Sequence[float]]) -> float:
    """Return the largest penalty that is within a standard error of the best [1].

    `found` are figures of folds.

    - [1] Breiman et al., Classification and Regression Trees, 1984, section 3.4.3
    """
    means = {penalty: float(np.mean(own)) for penalty, own in found.items()}
    best = max(means, key=means.__getitem__)
    error = float(np.std(found[best], ddof=1) / np.sqrt(len(found[best])))
    return max(penalty for penalty, mean in means.items() if mean >= means[best] - error)


def learn_on(
    encoder: RidgeEncoder,
    adapters: SketchedAdapters,
    *,
    name: str,
    cautious: bool = False,
    seed: int = 0,
) -> RidgeEncoder:
    """Return an encoder that knows `adapters` as well; all of them are learned from.

    What it knows of concepts and looks, and how far it believes them, stays as it is. Who is
    `cautious` takes of penalties that tie the largest, so that as little as can be is changed of
    what the ridge said before.

    Raises:
        TrainingDataError: there are too few adapters, or groups.
    """
    rest = Missed(encoder, adapters, seed)
    left_out = rest.left_out()
    found = {penalty: rest.mrr_of_folds(own) for penalty, own in left_out.items()}
    penalty = largest_that_ties(found) if cautious else max(found, key=lambda p: np.mean(found[p]))
    fitted = _add(rest, penalty)
    metrics = {
        "penalty": penalty,
        "cross_validation_mrr": {
            str(key): round(float(np.mean(own)), 4) for key, own in found.items()
        },
        "adapters": {"train": len(adapters.sketches)},
    }
    doubt_only = encoder.known is not None
    return replace(
        fitted,
        name=name,
        metrics=metrics,
        penalties=Penalties.of_doubt(fitted.up) if doubt_only else _hold_against(rest, fitted),
        usual_length=rest.usual_length(left_out[penalty]),
    )


def _hold_against(rest: Missed, fitted: RidgeEncoder) -> Penalties:
    captions = np.concatenate([fitted.text.project(own) for own in rest.adapters.captions])
    coordinates = Missed(fitted, rest.adapters).said @ fitted.up.T
    return Penalties.fit(fitted.up, captions, normalise(coordinates))


def _add(rest: Missed, penalty: float) -> RidgeEncoder:
    """Join what is learned of the rest with the map, in those directions that say most."""
    encoder = rest.encoder
    ridge = UncentredRidge(rest.kernel, rest.targets - rest.said)
    duals = ridge.duals(penalty)
    whole = rest.said + rest.kernel @ duals
    up = _directions(np.concatenate([encoder.up, whole]))
    down = encoder.down.dense() @ (encoder.up @ up.T)
    down += np.concatenate([part.T @ (duals @ up.T) for part in rest.features()])
    return replace(encoder, down=QuarterMatrix.of(down), up=up)


def _directions(rows: Floats) -> Floats:
    _, _, directions = np.linalg.svd(rows, full_matrices=False)
    kept: Floats = directions[:COMPONENTS].astype(np.float16).astype(np.float32)
    return kept
