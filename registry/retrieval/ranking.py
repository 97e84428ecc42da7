"""What several signals say of an adapter -> one order.

Similarities are first made comparable: in standard deviations above what unrelated adapters
of the family have (`Calibration`). Two things are then asked of them. How probable is it that an
adapter does what was asked for, whoever else does (`registry.retrieval.fitness`)? That orders
the list. And is it the one that is meant?

For that, each signal gives every adapter a share of its belief: as in a softmax over its nearest
adapters, with the possibility that it knows nothing of what was asked for. So a lone leader is
believed more than one of many, and one far above strangers more than the best of a bad lot.
Shares count as logarithms, above a floor: what one signal overlooks, others may still find, and
no signal can say more than its floor allows. Who chooses for an image goes by this.

Constants are learned by `python -m benchmarks.search.tuning`; docs/search.md explains them, and
docs/benchmarks.md has the comparison with reciprocal-rank fusion.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from encoder.arrays import Bools, Doubles
from registry.retrieval.fitness import (
    LITERAL,
    PERHAPS,
    SILENCE,
    WHOLE,
    band_of,
    has_every_word,
    probabilities,
    probabilities_by_author,
    probabilities_of_said,
    probabilities_of_worded,
)
from registry.retrieval.probability import LEAST_FIT, fit
from registry.retrieval.terms import SIGNALS, Band, Signal

# An encoder that is right less often takes no part: it may be of another world, or of none.
LEAST_TELLING = 0.65
# From this probability on what is said of an adapter is enough to make an image with it.
TAKEN = 0.8
# And one that its name and its pictures say to be what was asked for, from this probability on.
AGREED = 0.9
# Without weights no image is made with what is less probable than this.
UNWEIGHED = 0.3
# The nearest adapters share a signal's belief; more hardly change it, and an index's size should
# not either.
RIVALS = 10


@dataclass(frozen=True, slots=True)
class SignalModel:
    """How a similarity z, in standard deviations above strangers, becomes evidence.

        share(z) = exp(slope * (z - doubt)) / (1 + sum over the nearest of the same)
        evidence = weight * ln((floor + share(z)) / (floor + share(doubt)))

    At z = `doubt` an adapter is as likely as that the signal does not know the one asked for.
    What has no score is taken to be there: that speaks neither for nor against it.
    """

    slope: float
    doubt: float
    floor: float
    weight: float

    def evidence(self, z: Doubles) -> Doubles:
        """Return the evidence (adapters,) of similarities z (adapters,), NaN where unknown."""
        odds = self.slope * (z - self.doubt)
        rivals = np.sort(odds[~np.isnan(odds)])[-RIVALS:]
        everything = np.logaddexp.reduce([0.0, *rivals])
        share = np.exp(np.nan_to_num(odds, nan=0.0) - everything)
        found: Doubles = self.weight * np.log(
            (self.floor + share) / (self.floor + math.exp(-everything))
        )
        return found


MODELS: Mapping[Signal, SignalModel] = {
    "weights": SignalModel(0.574, 4.63, floor=0.0551, weight=5.17),
    "captions": SignalModel(1.13, 4.66, floor=0.0638, weight=1.24),
    "words": SignalModel(42.2, 0.0831, floor=0.972, weight=6.67),
}


@dataclass(frozen=True, slots=True)
class Calibration:
    """Mean and standard deviation of each signal between questions and unrelated adapters.

    Differs by family, encoder and text encoder, and is measured when an encoder is promoted;
    the defaults are those of the miniature world. `telling` is how often a caption is more
    similar to its own adapter's weights than to another's: .5 by chance.
    """

    weights: tuple[float, float] = (0.016, 0.101)
    captions: tuple[float, float] = (-0.01, 0.048)
    telling: float = 1.0

    @classmethod
    def from_json(cls, facts: Mapping[str, Any] | None) -> Self:
        """Read what `to_json` wrote; the defaults where nothing was measured."""
        if facts is None:
            return cls()
        pairs = {name: tuple(facts[name]) for name in ("weights", "captions") if name in facts}
        return cls(**pairs, telling=facts.get("telling", 1.0))

    def to_json(self) -> dict[str, Any]:
        return {
            "weights": list(self.weights),
            "captions": list(self.captions),
            "telling": self.telling,
        }

    def of(self, signal: Signal) -> tuple[float, float]:
        if signal == "words":
            return 0.0, 1.0
        return self.weights if signal == "weights" else self.captions


DEFAULT_CALIBRATION = Calibration()
# Of captions compared as texts, where no encoder knows what they have to tell.
PLAIN_CALIBRATION = Calibration(captions=(0.083, 0.11))


@dataclass(frozen=True, slots=True)
class Match:
    """An adapter's score in one signal's list."""

    adapter_id: int
    score: float


def best_of_each(matches: Iterable[Match]) -> list[Match]:
    """Return every adapter's best match, best first."""
    best: dict[int, Match] = {}
    for match in sorted(matches, key=lambda match: (-match.score, match.adapter_id)):
        best.setdefault(match.adapter_id, match)
    return list(best.values())


@dataclass(frozen=True, slots=True)
class Scale:
    """What similarities mean for a question put to the adapters of one space.

    `captions` are the mean and the deviation of unrelated texts as they are compared there, and
    `gibberish` is how near the question is to what means nothing, in those deviations.
    """

    calibration: Calibration
    captions: tuple[float, float]
    gibberish: float


@dataclass(frozen=True, slots=True)
class SearchHit:
    """An adapter, why it was found, and how well it fits.

    `score` is the probability, 0..1, that it does what was asked for, whoever else does, and
    `surety` that it is the one that is meant. A signal's score is None when the adapter has
    none (no cover, no embedding), its position (from 1) when it was not among the signal's
    candidates. `exact` marks a trigger word, name or file hash typed in full, which comes before
    everything that is merely similar; it is `elsewhere` if it is for another base model than was
    asked for. `also` are adapters further down that hold the same tensors. It is `mute` where words
    say nothing of it.
    """

    adapter_id: int
    score: float
    surety: float = 0.0
    signals: dict[Signal, float | None] = field(default_factory=dict)
    positions: dict[Signal, int | None] = field(default_factory=dict)
    exact: bool = False
    elsewhere: bool = False
    also: tuple[int, ...] = ()
    base_model: str = ""
    mute: bool = False

    @property
    def band(self) -> Band:
        return band_of(self.score)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an adapter beside its scores.

    It may be named `exact`ly, be for a base model `elsewhere` than was asked for, and `authored` by
    who bears the name that the question is. `said` is how similar to the question is what is said
    of it. One that is `unheard` is named in another script than the question: that it has none of
    its words says nothing.
    """

    base_model: str = ""
    downloads: int = 0
    said: float | None = None
    exact: bool = False
    elsewhere: bool = False
    unheard: bool = False
    authored: bool = False


Scores = Mapping[Signal, Mapping[int, float]]


def rank(
    scores: Scores,
    scales: Mapping[int, Scale],
    facts: Mapping[int, Facts],
    positions: Mapping[Signal, Mapping[int, int]] | None = None,
) -> list[SearchHit]:
    """Order the adapters of `facts`, best first: all that any signal scores, and others.

    `scales` are those of each adapter's space. `positions` are only reported. Those elsewhere
    follow what is as exact and for a base model that was asked for. Of equals the one with more
    downloads comes first, then the one with the smaller id, so the same index always answers the
    same. What is said of adapters is reported where no caption is nearer, and speaks by itself.
    """
    ids = sorted(facts)
    own_scales = [scales[id_] for id_ in ids]
    if len({id(scale) for scale in own_scales}) == 1:
        # Mostly there is one space: its scale is that of all.
        own_scales = own_scales[:1]
    found = evidence(scores, ids, [scale.calibration for scale in own_scales])
    z = scores_in_deviations(scores, ids, own_scales)
    gibberish = np.array([scale.gibberish for scale in own_scales])
    unheard = np.array([facts[id_].unheard for id_ in ids], bool)
    probable, mute = _probabilities(z, gibberish, found, unheard)
    sure = _sureties(scores, ids, found, probable)
    said = {id_: own.said for id_, own in facts.items() if own.said is not None}
    if said:
        by_text = _by_what_is_said(scores, ids, said, gibberish)
        # Of most nothing else speaks, which would look like evidence for each.
        alone = np.array([all(id_ not in own for own in scores.values()) for id_ in ids])
        only_said = alone & ~np.isnan(by_text)
        probable = np.where(only_said, by_text, np.fmax(probable, by_text))
        sure = np.where(by_text >= TAKEN, np.maximum(sure, by_text), np.where(alone, 0.0, sure))
    by_author = np.array([facts[id_].authored for id_ in ids], bool)
    if by_author.any():
        probable = probabilities_by_author(probable, by_author, z["words"])
    found_ones = zip(ids, probable.tolist(), sure.tolist(), mute.tolist(), strict=True)
    hits = _hits(found_ones, facts, _shown(scores, said), positions or {})
    return _best_first(hits, facts)


def _sureties(scores: Scores, ids: Sequence[int], found: Doubles, probable: Doubles) -> Doubles:
    """Return how surely each of `ids` is the one that is meant, (ids,), by the evidence `found`."""
    words = scores.get("words")
    sure = fit(found, silent=words is not None and not words)
    # The nearest prompt is always somebody's: without weights, being the nearest is not enough.
    weighed = scores.get("weights", {})
    doubted = np.array([id_ not in weighed for id_ in ids], bool) & (probable < UNWEIGHED)
    sure = np.where(doubted, LEAST_FIT * sure, sure)
    return np.where(_agreed(scores, ids, probable), np.maximum(sure, LEAST_FIT), sure)


def _agreed(scores: Scores, ids: Sequence[int], probable: Doubles) -> Bools:
    """Return of which of `ids` name and pictures agree, (ids,).

    Their names or trigger words have every word of the question, no caption is nearer than
    theirs, and both together leave little doubt: weights that an encoder knows nothing of are none.
    """
    captions, words = scores.get("captions", {}), scores.get("words", {})
    nearest = max(captions.values(), default=math.inf)
    both = [words.get(i, 0.0) >= WHOLE and captions.get(i, -1.0) >= nearest for i in ids]
    return np.array(both, bool) & (probable >= AGREED)


def _shown(scores: Scores, said: Mapping[int, float]) -> Scores:
    """Return scores with what is said of adapters among captions, where no caption is nearer."""
    captions = scores.get("captions", {})
    nearer = {id_: score for id_, score in said.items() if score > captions.get(id_, -math.inf)}
    return {**scores, "captions": {**captions, **nearer}} if nearer else scores


def _by_what_is_said(
    scores: Scores, ids: Sequence[int], said: Mapping[int, float], gibberish: Doubles
) -> Doubles:
    """Return how probable `ids` are by what is said of them (ids,).

    NaN where all of the question's words are in what is said: nothing tells more. Some of them tell
    a blue heart from a red one, which lie near each other, where nothing but text is known.
    """
    words = np.array([scores.get("words", {}).get(id_, 0.0) for id_ in ids])
    weighed = scores.get("weights", {})
    own = np.array([said.get(id_, math.nan) for id_ in ids])
    nearest = max((*scores.get("captions", {}).values(), *said.values()), default=-1.0)
    worded = (words > 0) & ~has_every_word(words) & [id_ not in weighed for id_ in ids]
    return np.where(
        worded,
        probabilities_of_worded(own, words, nearest),
        probabilities_of_said(np.where(words > 0, math.nan, own), nearest, gibberish),
    )


def _hits(
    found: Iterable[tuple[int, float, float, bool]],
    facts: Mapping[int, Facts],
    scores: Scores,
    positions: Mapping[Signal, Mapping[int, int]],
) -> list[SearchHit]:
    """Return what was `found`, with all that is told of each.

    Ids with their score and surety, and whether words say nothing of them.
    """
    # Looked up for some hundred adapters at every search.
    told = [(signal, scores.get(signal, {})) for signal in SIGNALS]
    places = [(signal, positions.get(signal, {})) for signal in SIGNALS]
    return [
        SearchHit(
            adapter_id,
            score=1.0 if facts[adapter_id].exact else score,
            surety=1.0 if facts[adapter_id].exact else surety,
            signals={signal: by_id.get(adapter_id) for signal, by_id in told},
            positions={signal: by_id.get(adapter_id) for signal, by_id in places},
            exact=facts[adapter_id].exact,
            elsewhere=facts[adapter_id].elsewhere,
            base_model=facts[adapter_id].base_model,
            mute=mute,
        )
        for adapter_id, score, surety, mute in found
    ]


def _best_first(hits: Iterable[SearchHit], facts: Mapping[int, Facts]) -> list[SearchHit]:
    return sorted(
        hits,
        key=lambda hit: (
            not hit.exact,
            hit.elsewhere,
            -round(hit.score, 9),
            -facts[hit.adapter_id].downloads,
            hit.adapter_id,
        ),
    )


def _probabilities(
    z: Mapping[Signal, Doubles], gibberish: Doubles, found: Doubles, unheard: Bools
) -> tuple[Doubles, Bools]:
    """Return how probable it is that each adapter does what was asked for, (ids,).

    And of which words say nothing: of all, where none answers any of them. `found` is the evidence
    for each. Of one that is `unheard` and has some of the words all the same the better holds:
    that it has them, or that they say nothing.
    """
    words = z["words"]
    told = is_told(z)
    if not (words >= SILENCE).any():
        mute = np.full(len(words), True)
        behind = behind_first(found, words, mute, told)
        return probabilities(z, gibberish, behind, silent=mute), mute
    mute = unheard & (words == 0)
    behind = behind_first(found, words, mute, told)
    probable = probabilities(z, gibberish, behind, silent=mute)
    if (unheard & ~mute).any():
        unsaid = {**z, "words": np.where(unheard, 0.0, words)}
        behind = behind_first(found, words, unheard, told)
        without = probabilities(unsaid, gibberish, behind, silent=unheard)
        mute |= unheard & (without > probable)
        probable = np.where(mute, without, probable)
    # What literally answers a question is never said to be probably something else; in the
    # order that they had, which a hundred-thousandth keeps.
    lifted = np.maximum(probable, PERHAPS + 1e-5 * (1 + probable))
    return np.where(words >= LITERAL, lifted, probable), mute


def is_told(z: Mapping[Signal, Doubles]) -> Bools:
    """Return of which adapters any signal tells something, (ids,)."""
    own = [z[signal] > 0 if signal == "words" else ~np.isnan(z[signal]) for signal in z]
    told: Bools = np.any(own, 0)
    return told


def behind_first(found: Doubles, words: Doubles, mute: Bools, told: Bools) -> Doubles:
    """Return how much less evidence there is for each adapter than for the first, (ids,).

    `words` are its scores by words: what is `mute` is behind by all else alone. Of what is not
    `told` nothing speaks for or against it, which puts none of the others behind.
    """

    def behind(own: Doubles) -> Doubles:
        return np.maximum(own[told].max(initial=-math.inf) - own, 0.0) if told.any() else 0 * own

    if not (words >= SILENCE).any():
        return behind(found)
    return np.where(mute, behind(found - MODELS["words"].evidence(words)), behind(found))


def scores_in_deviations(
    scores: Scores, ids: Sequence[int], scales: Sequence[Scale]
) -> dict[Signal, Doubles]:
    """Return each signal's scores of `ids` as `probabilities` takes them, NaN where unknown."""
    words = np.array([scores.get("words", {}).get(id_, 0.0) for id_ in ids])
    found: dict[Signal, Doubles] = {"words": words}
    for signal, own in scores.items():
        if signal == "words":
            continue
        raw = np.array([own.get(id_, math.nan) for id_ in ids])
        known = [s.captions if signal == "captions" else s.calibration.weights for s in scales]
        mean, deviation = np.array(known).reshape(-1, 2).T
        found[signal] = (raw - mean) / deviation
    return found


def evidence(scores: Scores, ids: Sequence[int], calibrations: Sequence[Calibration]) -> Doubles:
    """Return how much speaks for each of `ids` before its rivals, (ids,): 0 is neither.

    `calibrations` are those of each one's space, or one for all.
    """
    total = np.zeros(len(ids))
    for signal, own in scores.items():
        mean, deviation = np.array([c.of(signal) for c in calibrations]).reshape(-1, 2).T
        # Words are always known: an adapter that was not found has none of them.
        unknown = 0.0 if signal == "words" else math.nan
        z = (np.array([own.get(id_, math.nan) for id_ in ids]) - mean) / deviation
        total += MODELS[signal].evidence(np.where(np.isnan(z), unknown, z))
    return total


def less(hits: Sequence[SearchHit], doubts: Mapping[int, float]) -> list[SearchHit]:
    """Return `hits` in the order of how probably they do what was asked for and not the unwanted.

    `doubts` say how probably each is that; the two are taken to be independent. What probably is
    not unwanted loses nothing, and what was asked for exactly stays first.
    """
    kept = []
    for hit in hits:
        doubt = doubts.get(hit.adapter_id, 0.0)
        if doubt >= PERHAPS and not hit.exact:
            hit = replace(hit, score=hit.score * (1 - doubt), surety=hit.surety * (1 - doubt))
        kept.append(hit)
    return sorted(kept, key=lambda hit: (not hit.exact, hit.elsewhere, -round(hit.score, 9)))


def fold(hits: Sequence[SearchHit], contents: Mapping[int, str]) -> list[SearchHit]:
    """Make one hit of those with equal contents: the first, with the others in `also`."""
    groups: dict[str, list[SearchHit]] = {}
    for hit in hits:
        groups.setdefault(contents.get(hit.adapter_id, f"adapter {hit.adapter_id}"), []).append(hit)
    return [
        replace(first, also=tuple(other.adapter_id for other in others)) if others else first
        for first, *others in groups.values()
    ]
