"""What several signals say of an adapter -> one order, and whether its head fits at all.

Similarities are first made comparable: in standard deviations above what unrelated adapters
of the family have (`Calibration`). Then the strongest evidence counts, not the sum: names and
captions are often missing and sometimes wrong, and what one signal does not know speaks
against nobody. Being nearest of all by a signal counts on top, for questions differ in how near
anything comes. Constants are learned by `python -m benchmarks.search_tuning` on validation
adapters; docs/benchmarks.md has the comparison with reciprocal-rank fusion.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self, get_args

import numpy as np
import numpy.typing as npt

Signal = Literal["weights", "captions", "words"]
SIGNALS: tuple[Signal, ...] = get_args(Signal)
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SignalModel:
    """How a similarity becomes evidence: ln(1 + exp(slope * z + offset)), and what leading adds.

    An adapter at a distance d (in standard deviations) from the nearest one loses
    lead * (1 - exp(-pull * d)).
    """

    slope: float
    offset: float
    lead: float = 0.0
    pull: float = 1.0


MODELS: Mapping[Signal, SignalModel] = {
    "weights": SignalModel(0.963, -0.172, lead=16.1, pull=0.15),
    "captions": SignalModel(0.652, 0.576, lead=0.919, pull=4.55),
    "words": SignalModel(5.03, 0.56, lead=3.25, pull=15.4),
}
# A hit fits with probability 1 / (1 + exp(-(FIT_SLOPE * evidence + FIT_OFFSET))).
FIT_SLOPE, FIT_OFFSET = 0.616, -1.8
# Below this the best hit is taken for a stranger, and the answer is that nothing fits. On
# validation it has the best balanced accuracy (asked for what is here, and for what was taken
# away or is far off).
LEAST_FIT = 0.51


@dataclass(frozen=True, slots=True)
class Calibration:
    """Mean and standard deviation of each signal between questions and unrelated adapters.

    Differs by family, encoder and text encoder, and is measured when an encoder is promoted;
    the defaults are those of the miniature world.
    """

    weights: tuple[float, float] = (0.016, 0.101)
    captions: tuple[float, float] = (0.097, 0.11)

    @classmethod
    def from_json(cls, facts: Mapping[str, Any] | None) -> Self:
        """Read what `to_json` wrote; the defaults where nothing was measured."""
        return cls(**{key: tuple(value) for key, value in (facts or {}).items()})

    def to_json(self) -> dict[str, list[float]]:
        return {"weights": list(self.weights), "captions": list(self.captions)}

    def of(self, signal: Signal) -> tuple[float, float]:
        if signal == "words":
            return 0.0, 1.0
        return self.weights if signal == "weights" else self.captions


DEFAULT_CALIBRATION = Calibration()


@dataclass(frozen=True, slots=True)
class Match:
    """An adapter's score in one signal's list."""

    adapter_id: int
    score: float


@dataclass(frozen=True, slots=True)
class SearchHit:
    """An adapter, why it was found, and how well it fits.

    `score` is the probability, 0..1, that it does what was asked for. A signal's score is
    None when the adapter has none (no cover, no embedding), its position (from 1) when it was
    not among the signal's candidates. `exact` marks a trigger word, name or file hash typed
    in full, which comes before everything that is merely similar. `also` are adapters further
    down that hold the same tensors.
    """

    adapter_id: int
    score: float
    signals: dict[Signal, float | None] = field(default_factory=dict)
    positions: dict[Signal, int | None] = field(default_factory=dict)
    exact: bool = False
    also: tuple[int, ...] = ()


Scores = Mapping[Signal, Mapping[int, float]]


def rank(
    scores: Scores,
    calibration: Calibration = DEFAULT_CALIBRATION,
    *,
    positions: Mapping[Signal, Mapping[int, int]] | None = None,
    exact: Collection[int] = (),
    downloads: Mapping[int, int] | None = None,
) -> list[SearchHit]:
    """Order all adapters that any signal scores, or that are `exact`, best first.

    `positions` are only reported. Of equals the one with more `downloads` comes first, then
    the one with the smaller id, so the same index always answers the same.
    """
    ids = sorted({id_ for own in scores.values() for id_ in own} | set(exact))
    found = evidence(scores, ids, calibration)
    places, popularity = positions or {}, downloads or {}
    hits = [
        SearchHit(
            adapter_id,
            score=1.0 if adapter_id in exact else fit(value),
            signals={signal: scores.get(signal, {}).get(adapter_id) for signal in SIGNALS},
            positions={signal: places.get(signal, {}).get(adapter_id) for signal in SIGNALS},
            exact=adapter_id in exact,
        )
        for adapter_id, value in zip(ids, found.tolist(), strict=True)
    ]
    strength = dict(zip(ids, found.round(6).tolist(), strict=True))
    hits.sort(
        key=lambda hit: (
            not hit.exact,
            -strength[hit.adapter_id],
            -popularity.get(hit.adapter_id, 0),
            hit.adapter_id,
        )
    )
    return hits


def evidence(scores: Scores, ids: Collection[int], calibration: Calibration) -> Floats:
    """Return how much speaks for each of `ids`, (ids,): 0 nothing, 10 and more a lot."""
    strongest = np.zeros(len(ids))
    behind = np.zeros(len(ids))
    for signal, own in scores.items():
        if not own:
            continue
        mean, deviation = calibration.of(signal)
        model = MODELS[signal]
        known = np.array([id_ in own for id_ in ids], bool)
        z = np.array([(own.get(id_, mean) - mean) / deviation for id_ in ids])
        strongest = np.maximum(
            strongest, np.where(known, np.logaddexp(0, model.slope * z + model.offset), 0)
        )
        # What has no score is as far as a stranger.
        best = (max(own.values()) - mean) / deviation
        distance = np.maximum(best - z, 0)
        behind += model.lead * (1 - np.exp(-model.pull * distance))
    return strongest - behind


def fit(value: float) -> float:
    """Return the probability that an adapter with this evidence does what was asked for."""
    return 1 / (1 + math.exp(-min(max(FIT_SLOPE * value + FIT_OFFSET, -700.0), 700.0)))


def fits(hits: Collection[SearchHit]) -> bool:
    """Whether any of them does what was asked for, as far as can be told."""
    return any(hit.score >= LEAST_FIT for hit in hits)


def fold(hits: Sequence[SearchHit], contents: Mapping[int, str]) -> list[SearchHit]:
    """Make one hit of those with equal contents: the first, with the others in `also`."""
    groups: dict[str, list[SearchHit]] = {}
    for hit in hits:
        groups.setdefault(contents.get(hit.adapter_id, f"adapter {hit.adapter_id}"), []).append(hit)
    return [
        replace(first, also=tuple(other.adapter_id for other in others))
        for first, *others in groups.values()
    ]
