"""Whether search notices that nothing fits."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rich.progress import track
from sqlalchemy.orm import Session, sessionmaker

from benchmarks.intervals import mean_interval
from benchmarks.search.far_off import FAR_OFF
from benchmarks.search.world import (
    FILTERS,
    LANGUAGES,
    World,
    as_served,
    captions_of,
    fill,
    qualities,
)
from encoder.arrays import Doubles
from registry.retrieval.encoder_spaces import Space
from registry.retrieval.hybrid import SearchQuery, rank_all, read
from registry.retrieval.probability import LEAST_FIT
from registry.retrieval.ranking import SearchHit


def measure_abstention(
    sessions: sessionmaker[Session], parts: tuple[World, World]
) -> Iterator[dict[str, Any]]:
    """Yield how often search answers what is here, what was taken away, and what is far off.

    Each of the two parts is here once, with the other one taken away, and the other way round.
    """
    for setup in ("full", "sparse"):
        for indexed, language in LANGUAGES:
            scores: dict[str, list[float]] = {"here": [], "taken away": [], "far off": []}
            right: list[bool] = []
            for world, missing in (parts, parts[::-1]):
                hidden = np.random.default_rng(1).integers(0, 3, len(world.concepts)).tolist()
                absent = np.random.default_rng(2).integers(0, 3, len(missing.concepts)).tolist()
                known = qualities(len(world.concepts), setup, seed=1)
                fill(sessions, world, known, indexed, hidden)
                served = as_served(sessions, world)
                kinds = {
                    "here": captions_of(world.concepts, language, hidden),
                    "taken away": captions_of(missing.concepts, language, absent),
                    "far off": [pair[language == "zh"] for pair in FAR_OFF[1::2]],
                }
                for kind, texts in kinds.items():
                    about = f"{setup} {indexed} {language} {kind}"
                    hits = first_hits(sessions, served, texts)
                    first = list(track(hits, about, total=len(texts)))
                    scores[kind] += [hit.surety for hit in first]
                    if kind == "here":
                        right += [hit.adapter_id == own for own, hit in enumerate(first, start=1)]
            yield {
                "setup": setup,
                "languages": f"{language} on {indexed}",
                "questions": {kind: len(own) for kind, own in scores.items()},
                **abstention_figures(
                    {kind: np.array(own) for kind, own in scores.items()}, np.array(right, float)
                ),
            }


def first_hits(
    sessions: sessionmaker[Session], world: World, texts: Sequence[str]
) -> Iterator[SearchHit]:
    """Yield the surest find for each text: what would be chosen for an image."""
    with sessions() as session:
        for text in texts:
            asked = read(session, SearchQuery(text, FILTERS), world.text_encoder)
            hits = rank_all(session, asked, world.text_encoder, [Space(world.encoder)])
            yield max(hits, key=lambda hit: hit.surety)


def abstention_figures(scores: dict[str, Doubles], right: Doubles) -> dict[str, Any]:
    """Precision and recall of the decision to answer, and of the first answer being right.

    `scores` are those of the first hits by kind of question.
    """
    answered = {kind: (own >= LEAST_FIT).astype(float) for kind, own in scores.items()}
    outside = np.concatenate([answered["taken away"], answered["far off"]])
    hits = float(answered["here"].sum())
    strangers = np.concatenate([scores["taken away"], scores["far off"]])
    return {
        "answered": {kind: mean_interval(own) for kind, own in answered.items()},
        "precision": hits / max(hits + float(outside.sum()), 1.0),
        "recall": float(answered["here"].mean()),
        "right_when_answered": float((answered["here"] * right).sum() / max(hits, 1.0)),
        "right_always": float(right.mean()),
        "balanced_accuracy": float(answered["here"].mean() + 1 - outside.mean()) / 2,
        "area": area(scores["here"], strangers),
        "recall_at_precision_90": recall_at_precision(scores["here"], strangers, 0.9),
    }


def area(inside: Doubles, outside: Doubles) -> float:
    """Area under the ROC curve: how often one of `inside` is above one of `outside`."""
    above = inside[:, None] - outside
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def recall_at_precision(inside: Doubles, outside: Doubles, least: float) -> float:
    """The largest share of `inside` above a threshold that keeps the precision."""
    recalls = [0.0]
    for threshold in np.unique(inside):
        kept, wrong = (inside >= threshold).sum(), (outside >= threshold).sum()
        if kept >= least * (kept + wrong):
            recalls.append(float(kept / len(inside)))
    return max(recalls)
