"""What a base model knows already, as keys that an adapter's sketch is held against.

An adapter starts as no change and follows the gradient of its pictures' loss. So the gradient of
pictures of a concept, sketched alike, is much like an adapter of it, and needs no training
(docs/benchmarks/wide.md). Here an adapter says the words of the concepts whose gradients it is
most like. Adapters of art that nobody trained an encoder on are found by that.

What is drawn and how it is drawn are told by concepts of their own: what tells things apart is the
same in any look, and what tells looks apart is the same whatever they show.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from encoder.adapter.quarter_matrix import QuarterMatrix
from encoder.adapter.two_bit_matrix import TwoBitMatrix
from encoder.arrays import Floats
from encoder.text_encoder import normalise

if TYPE_CHECKING:
    from encoder.sketches.sketch import Sketch


@dataclass(frozen=True, slots=True, eq=False)
class Concepts:
    """Attention over concepts: sketches in, words out."""

    means: Floats  # (values of a sketch,): the mean adapter, every layer of length 1
    columns: npt.NDArray[np.int32]  # (columns,): the values of a sketch in which concepts differ
    keys: TwoBitMatrix  # (concepts, columns): their gradients, whitened on both sides
    texts: QuarterMatrix  # (concepts, dim): the embeddings of what each is called
    starts: npt.NDArray[np.int32]  # (kinds,): where each kind of concept begins, the first at 0

    def kinds(self) -> list[slice]:
        """Return the places of concepts of each kind; none where all are of one."""
        starts = self.starts.tolist()
        if len(starts) == 1:
            return []
        return [slice(*ends) for ends in pairwise([*starts, self.keys.rows])]

    def scores(self, sketches: Sequence["Sketch"]) -> Floats:
        """Return how like adapters are to every concept, (n, concepts), each row in its own unit.

        A layer that an adapter lacks counts as the mean one, so it says nothing.
        """
        sizes = sketches[0].layout.sizes
        values = np.stack([sketch.values for sketch in sketches]).astype(np.float32)
        features = unit_layers(values, sizes) - self.means
        features *= np.stack([sketch.mask for sketch in sketches]).repeat(sizes, axis=1)
        return self.keys.products(features[:, self.columns])

    def arrays(self, name: str) -> dict[str, npt.NDArray[Any]]:
        """Return what a checkpoint holds."""
        return {
            f"{name}_means": self.means.astype(np.float16),
            f"{name}_columns": self.columns,
            **self.keys.arrays(f"{name}_keys"),
            **self.texts.arrays(f"{name}_texts"),
            f"{name}_starts": self.starts,
        }

    @classmethod
    def restore(cls, arrays: Mapping[str, Any], name: str) -> "Concepts | None":
        """Build it from what `arrays` gave; an encoder need not have any."""
        if f"{name}_means" not in arrays:
            return None
        keys = TwoBitMatrix.restore(arrays, f"{name}_keys")
        return cls(
            np.asarray(arrays[f"{name}_means"], np.float32),
            np.asarray(arrays[f"{name}_columns"], np.int32),
            keys,
            QuarterMatrix.restore(arrays, f"{name}_texts", keys.rows),
            np.asarray(arrays[f"{name}_starts"], np.int32),
        )


def nearest_shares(scores: Floats, nearest: int) -> Floats:
    """Return what concepts have to say, (n, concepts): how far each is above the nearest's last."""
    count = min(nearest, scores.shape[1])
    last = np.partition(scores, -count, axis=1)[:, -count, None]
    shares: Floats = np.maximum(scores - last, 0)
    return shares


def peaks(scores: Floats) -> Floats:
    """Return how far the nearest concept stands out, (n,), in standard deviations of a row."""
    spread = np.maximum(scores.std(axis=1), np.float32(1e-12))
    found: Floats = (scores.max(axis=1) - scores.mean(axis=1)) / spread
    return found


def unit_layers(values: Floats, sizes: npt.NDArray[np.int64]) -> Floats:
    """Scale every layer's part of rows (n, values) to length 1; one of zeros stays."""
    scaled = np.empty_like(values)
    for stop, size in zip(np.cumsum(sizes), sizes, strict=True):
        scaled[:, stop - size : stop] = normalise(values[:, stop - size : stop])
    return scaled
