"""What is held against an embedding: lying near everything, or resting on little.

Both are written into the embedding, along two axes that predictions leave free, so that an
index which compares by cosine takes them into account and need not know of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from encoder.adapter.quarter_matrix import QuarterMatrix
from encoder.arrays import Floats
from encoder.text_encoder import normalise

# Tried on validation (docs/benchmarks.md): .2 to .4 of the mean similarity of the nearest
# 1/200 of the training captions.
STRENGTH, NEAREST_SHARE = 0.25, 0.005
MOST_CAPTIONS = 2048
# A query's length along the first axis; small, so that similarities stay as they were.
QUERY_LENGTH = 0.3
# Similarities fall where adapters have less than this share of the layers' weight. Those of
# the attention layers alone have more.
ENOUGH_LAYERS = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Penalties:
    """Lowers embeddings near many captions (hubs [1], by CSLS [2]), or that rest on little.

    - [1] Radovanović et al., 2010, https://jmlr.org/papers/v11/radovanovic10a.html
    - [2] Lample et al., 2018, https://arxiv.org/abs/1710.04087
    """

    axes: Floats  # (2, dim), orthonormal, orthogonal to every prediction
    # (components, captions): training captions, as predictions meet them. None: lying near them is
    # not held against anything, since what is said of an adapter is weighed already (beliefs.py).
    captions: QuarterMatrix | None
    mean: float  # hubness of the training adapters

    @classmethod
    def fit(cls, up: Floats, captions: Floats, coordinates: Floats) -> "Penalties":
        """Learn it from training captions (n, dim) in the text space and adapters' coordinates.

        `up` (components, dim) spans all predictions; `coordinates` (adapters, components)
        times `up` are the training adapters' embeddings, of length 1.
        """
        rng = np.random.default_rng(0)
        kept = rng.permutation(len(captions))[:MOST_CAPTIONS]
        axes = free_axes(up, 2).astype(np.float16).astype(np.float32)
        fresh = cls(axes, QuarterMatrix.of(up @ captions[kept].T), 0.0)
        mean = float(fresh.hubness(coordinates).mean())
        return cls(axes, fresh.captions, mean)

    @classmethod
    def of_doubt(cls, up: Floats) -> "Penalties":
        """Hold against an embedding only that it rests on little."""
        return cls(free_axes(up, 2).astype(np.float16).astype(np.float32), None, 0.0)

    def hubness(self, coordinates: Floats) -> Floats:
        """Return the mean similarity to the nearest training captions, (n,)."""
        if self.captions is None:
            return np.zeros(len(coordinates), np.float32)
        similarity = self.captions.apply(coordinates)
        count = max(1, round(NEAREST_SHARE * similarity.shape[1]))
        nearest = np.partition(similarity, -count, axis=1)[:, -count:]
        means: Floats = nearest.mean(axis=1)
        return means

    def apply(
        self, embeddings: Floats, coordinates: Floats, layers_share: Floats, trust: Floats
    ) -> Floats:
        """Return the embeddings (n, dim), of length 1, with what is held against each.

        `layers_share` (n,) is how much of all layers' weight an adapter's layers have, `trust` (n,)
        how far an adapter is like those trained on, 0..1: similarities fall by it.
        """
        against = STRENGTH * (self.hubness(coordinates) - self.mean) / QUERY_LENGTH
        free = embeddings - embeddings @ self.axes.T @ self.axes
        lowered = normalise(free - against[:, None] * self.axes[0])
        certainty = (trust * np.sqrt(np.minimum(1, layers_share / ENOUGH_LAYERS)))[:, None]
        doubt: Floats = np.sqrt(1 - np.square(certainty)) * self.axes[1]
        # The axes are of length 1 but for their rounding.
        return normalise((certainty * lowered + doubt).astype(np.float32))

    def nothing(self) -> Floats:
        """Return the embedding (dim,) of what nothing is known of: queries have similarity 0."""
        return normalise(self.axes[1])

    def of_queries(self, projected: Floats) -> Floats:
        """Return queries (n, dim) that meet the first axis and not the second."""
        free = projected - projected @ self.axes.T @ self.axes
        return normalise(free + QUERY_LENGTH * self.axes[0])

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return what a checkpoint holds."""
        return {
            "penalty_axes": self.axes.astype(np.float16),
            "penalty_mean": np.array([self.mean], np.float32),
            **({} if self.captions is None else self.captions.arrays("penalty_captions")),
        }

    @classmethod
    def restore(cls, arrays: Mapping[str, Any], components: int) -> "Penalties | None":
        """Build it from what `arrays` gave; an encoder need not have any."""
        if "penalty_axes" not in arrays:
            return None
        captions = None
        if "penalty_captions_levels" in arrays:
            captions = QuarterMatrix.restore(arrays, "penalty_captions", components)
        axes = np.asarray(arrays["penalty_axes"], np.float32)
        return cls(axes, captions, float(arrays["penalty_mean"][0]))


def free_axes(up: Floats, count: int) -> Floats:
    """Return orthonormal rows (count, dim) that are orthogonal to those of `up`."""
    _, _, rows = np.linalg.svd(up.astype(np.float64), full_matrices=True)
    free: Floats = rows[len(up) :][:count].astype(np.float32)
    if len(free) < count:
        raise ValueError(f"{len(up)} of {up.shape[1]} directions leave no {count} axes free")
    return free
