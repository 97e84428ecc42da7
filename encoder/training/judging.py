"""Whether one encoder is better than another: on adapters that neither was trained on.

Adapters are held back by their group, such as an author, and a hash of its name decides: so the
same ones are held back from every training on an index, however it grows. An interval comes of
drawing whole groups again, for one author's adapters are much alike.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from encoder.arrays import Doubles, Floats
from encoder.weight_encoders.metrics import positions

# One group in so many is held back.
HELD_BACK = 5
# Adapters are looked for among so many: figures of an index that grows stay comparable.
GALLERY = 60
GALLERIES = 20
RESAMPLES = 2000


def is_held_back(group: str) -> bool:
    """Whether a group's adapters are kept from training."""
    return int(hashlib.sha256(group.encode()).hexdigest(), 16) % HELD_BACK == 0


def reciprocal_places(queries: Sequence[Floats], gallery: Floats) -> Doubles:
    """Return each adapter's mean reciprocal place for its own captions, (adapters,).

    `queries` are each adapter's captions in the encoder's space (captions, dim), `gallery`
    (adapters, dim) their embeddings. Each is asked for among `GALLERY` of them, itself and others
    drawn anew several times.
    """
    rng = np.random.default_rng(0)
    count = len(gallery)
    owners = np.repeat(np.arange(count), [len(part) for part in queries])
    similarity = np.concatenate(queries) @ gallery.T
    sums, asked = np.zeros(count), np.zeros(count)
    for _ in range(GALLERIES if count > GALLERY else 1):
        drawn = rng.permutation(count)[:GALLERY]
        place = np.full(count, -1)
        place[drawn] = np.arange(len(drawn))
        rows = np.flatnonzero(place[owners] >= 0)
        found = 1 / positions(similarity[np.ix_(rows, drawn)], place[owners[rows]])
        np.add.at(sums, owners[rows], found)
        np.add.at(asked, owners[rows], 1)
    # Some are never drawn where there are very many.
    means: Doubles = np.divide(sums, asked, out=np.full(count, np.nan), where=asked > 0)
    return means


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and where it lies with 95 %."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def interval(values: Doubles, groups: Sequence[str]) -> Interval:
    """Return the mean of values (adapters,), with an interval over groups drawn again."""
    known = ~np.isnan(values)
    _, members = np.unique(np.asarray(groups)[known], return_inverse=True)
    sums = np.bincount(members, values[known])
    counts = np.bincount(members)
    drawn = np.random.default_rng(0).integers(len(sums), size=(RESAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975]).tolist()
    return Interval(float(values[known].mean()), low, high)
