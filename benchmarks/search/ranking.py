"""Which signal finds what, and all of them together."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rich.progress import track
from sqlalchemy.orm import Session, sessionmaker

from benchmarks.intervals import mean_interval, resamples
from benchmarks.search.world import (
    FILTERS,
    LANGUAGES,
    SETUPS,
    World,
    as_served,
    captions_of,
    fill,
    qualities,
)
from encoder.arrays import Doubles
from registry.retrieval.encoder_spaces import Space
from registry.retrieval.hybrid import SearchQuery, search
from registry.retrieval.ranking import SearchHit
from registry.retrieval.terms import SIGNALS

# Cormack et al., SIGIR 2009; the weights that ranking used before it was measured.
RRF_K, RRF_WEIGHTS = 60, {"weights": 1.0, "captions": 1.0, "words": 0.7}
# `all` is by how surely each is the one that is meant, which a question with one answer asks for;
# the list puts before it what literally matches.
METHODS = (*SIGNALS, "reciprocal ranks", "as listed", "all")


def places(hits: Sequence[SearchHit], own: int) -> dict[str, int | None]:
    """Return at which place every method has the adapter `own`; None where it has it not."""
    hit = next((hit for hit in hits if hit.adapter_id == own), None)
    found: dict[str, int | None] = {
        signal: None if hit is None else hit.positions[signal] for signal in SIGNALS
    }
    found["reciprocal ranks"] = place_by_reciprocal_ranks(hits, own)
    found["as listed"] = None if hit is None else hits.index(hit) + 1
    found["all"] = place_by_surety(hits, own)
    return found


def place_by_surety(hits: Sequence[SearchHit], own: int) -> int | None:
    order = [hit.adapter_id for hit in sorted(hits, key=lambda hit: -hit.surety)]
    return order.index(own) + 1 if own in order else None


def place_by_reciprocal_ranks(hits: Sequence[SearchHit], own: int) -> int | None:
    """Merge the signals' places by weighted reciprocal-rank fusion instead."""
    scores = {
        hit.adapter_id: sum(
            RRF_WEIGHTS[signal] / (RRF_K + place)
            for signal in SIGNALS
            if (place := hit.positions[signal]) is not None
        )
        for hit in hits
    }
    order = sorted(scores, key=lambda adapter_id: (-scores[adapter_id], adapter_id))
    return order.index(own) + 1 if own in scores else None


def measure_ranking(sessions: sessionmaker[Session], world: World) -> Iterator[dict[str, Any]]:
    """Yield a row for every set-up and language."""
    count = len(world.concepts)
    hidden = np.random.default_rng(0).integers(0, 3, count).tolist()
    for setup in SETUPS:
        for indexed, language in LANGUAGES:
            fill(sessions, world, qualities(count, setup, seed=0), indexed, hidden)
            served = as_served(sessions, world)
            found: dict[str, list[float]] = {name: [] for name in METHODS}
            milliseconds = []
            with sessions() as session:
                texts = captions_of(world.concepts, language, hidden)
                for own, text in enumerate(track(texts, f"{setup} {indexed} {language}"), start=1):
                    started = time.perf_counter()
                    # All adapters are asked for, so that every place is known.
                    query = SearchQuery(text, FILTERS, count)
                    hits = search(session, query, served.text_encoder, [Space(served.encoder)])
                    milliseconds.append(1000 * (time.perf_counter() - started))
                    for name, place in places(hits, own).items():
                        found[name].append(1 / place if place else 0.0)
            yield {
                "setup": setup,
                "languages": f"{language} on {indexed}",
                "milliseconds": float(np.median(milliseconds)),
                **ranking_figures({name: np.array(own) for name, own in found.items()}),
            }


def ranking_figures(reciprocal: dict[str, Doubles]) -> dict[str, Any]:
    """MRR and R@1 of methods with intervals, and how far all is above the best signal."""
    rows = resamples(len(reciprocal["all"]))
    best = max(SIGNALS, key=lambda name: reciprocal[name].mean())
    difference = reciprocal["all"] - reciprocal[best]
    fused = reciprocal["all"] - reciprocal["reciprocal ranks"]
    return {
        "mrr": {name: mean_interval(own, rows) for name, own in reciprocal.items()},
        "recall_at_1": {name: mean_interval(own == 1, rows) for name, own in reciprocal.items()},
        "recall_at_10": {name: mean_interval(own >= 0.1, rows) for name, own in reciprocal.items()},
        "best": best,
        "above_best": mean_interval(difference, rows),
        "above_reciprocal_ranks": mean_interval(fused, rows),
    }
