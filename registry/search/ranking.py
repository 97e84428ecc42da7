"""Several ranked lists -> one: weighted reciprocal-rank fusion."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

Signal = Literal["weights", "captions", "words"]
SIGNALS: tuple[Signal, ...] = get_args(Signal)

# Cormack et al., SIGIR 2009, "Reciprocal rank fusion outperforms Condorcet": 60 was
# best in their pilot and differs little over 20..100.
RRF_K = 60
# What a place in each list is worth. Words are the most easily wrong on a hub (names
# are whims, tags are spam), so they only tip the balance between the other two.
SIGNAL_WEIGHTS: Mapping[Signal, float] = {"weights": 1.0, "captions": 1.0, "words": 0.7}


@dataclass(frozen=True, slots=True)
class Match:
    """An adapter's score in one signal's list."""

    adapter_id: int
    score: float


@dataclass(frozen=True, slots=True)
class SearchHit:
    """An adapter, why it was found, and how it compares.

    `score` is 1 for an adapter that leads every list. A signal's score is None when
    the adapter has none (no cover, no embedding), its position (from 1) when it was
    not among the signal's candidates. `exact` marks a trigger word, name or file hash
    typed in full, which comes before everything that is merely similar.
    """

    adapter_id: int
    score: float
    signals: dict[Signal, float | None] = field(default_factory=dict)
    positions: dict[Signal, int | None] = field(default_factory=dict)
    exact: bool = False


def merge(
    lists: Mapping[Signal, Sequence[Match]],
    *,
    limit: int,
    exact: Collection[int] = (),
    signal_weights: Mapping[Signal, float] = SIGNAL_WEIGHTS,
) -> list[SearchHit]:
    """Merge lists that are each ordered best first; `exact` adapters precede all.

    A list that is not given (no encoder for this base model) takes no part: scores
    stay comparable to the best possible score of the lists that are there. Equal
    scores are ordered by id, so the same index always answers the same.
    """
    positions = {
        signal: {match.adapter_id: place for place, match in enumerate(matches, start=1)}
        for signal, matches in lists.items()
    }
    scores = {
        signal: {match.adapter_id: match.score for match in matches}
        for signal, matches in lists.items()
    }
    best = sum(signal_weights[signal] / (RRF_K + 1) for signal in lists)
    hits = [
        SearchHit(
            adapter_id,
            score=sum(
                signal_weights[signal] / (RRF_K + places[adapter_id])
                for signal, places in positions.items()
                if adapter_id in places
            )
            / best
            if best
            else 0.0,
            signals={signal: scores.get(signal, {}).get(adapter_id) for signal in SIGNALS},
            positions={signal: positions.get(signal, {}).get(adapter_id) for signal in SIGNALS},
            exact=adapter_id in exact,
        )
        for adapter_id in {id_ for places in positions.values() for id_ in places} | set(exact)
    ]
    hits.sort(key=lambda hit: (not hit.exact, -hit.score, hit.adapter_id))
    return hits[:limit]
