"""Measure the whole search on adapters never seen, through PostgreSQL as it serves.

Three tables: ranking (which signal finds what, and all together), abstention (does it notice
that nothing fits) and selection (which adapters it takes for a prompt that names several
things). Questions are captions that no cover shows; nothing here was tuned on these adapters.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track
from sqlalchemy.orm import Session, sessionmaker

from benchmarks.search_composed import compose
from benchmarks.search_texts import FAR_OFF
from benchmarks.search_world import (
    ENCODER,
    SETUPS,
    Language,
    World,
    calibrated,
    fill,
    load_world,
    open_index,
    qualities,
)
from demo.listing import BASE_MODEL
from demo.paths import BUILD
from registry.retrieval.candidates import find_candidates
from registry.retrieval.filters import Filters
from registry.retrieval.hybrid import SearchQuery, search
from registry.retrieval.ranking import LEAST_FIT, SIGNALS, SearchHit
from registry.retrieval.selection import choose
from registry.retrieval.vector import weight_embeddings

Floats = npt.NDArray[np.float64]

# (language of captions and words, of questions)
LANGUAGES: tuple[tuple[Language, Language], ...] = (("en", "en"), ("zh", "zh"), ("en", "zh"))
FILTERS = Filters(BASE_MODEL)
RESAMPLES = 2000
COMPOSED = 216
# Cormack et al., SIGIR 2009; the weights that ranking used before it was measured.
RRF_K, RRF_WEIGHTS = 60, {"weights": 1.0, "captions": 1.0, "words": 0.7}
TABLES = ["ranking", "abstention", "selection"]
METHODS = (*SIGNALS, "reciprocal ranks", "all")


def asked(world: World, language: Language, hidden: Sequence[int]) -> list[str]:
    """Each adapter's caption that its covers do not show."""
    captions = [c.captions_zh if language == "zh" else c.captions for c in world.concepts]
    return [own[place] for own, place in zip(captions, hidden, strict=True)]


def places(hits: Sequence[SearchHit], own: int) -> dict[str, int | None]:
    """Return at which place every method has the adapter `own`; None where it has it not."""
    hit = next((hit for hit in hits if hit.adapter_id == own), None)
    found: dict[str, int | None] = {
        signal: None if hit is None else hit.positions[signal] for signal in SIGNALS
    }
    found["reciprocal ranks"] = place_by_reciprocal_ranks(hits, own)
    found["all"] = None if hit is None else hits.index(hit) + 1
    return found


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


def as_served(sessions: sessionmaker[Session], world: World) -> World:
    """The world with its encoder calibrated on the index, as a promotion does it."""
    return replace(world, encoder=replace(world.encoder, calibration=calibrated(sessions, world)))


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
                texts = asked(world, language, hidden)
                for own, text in enumerate(track(texts, f"{setup} {indexed} {language}"), start=1):
                    started = time.perf_counter()
                    # So many that every place is known.
                    query = SearchQuery(text, FILTERS, count)
                    hits = search(session, query, served.text_encoder, served.encoder)
                    milliseconds.append(1000 * (time.perf_counter() - started))
                    for name, place in places(hits, own).items():
                        found[name].append(1 / place if place else 0.0)
            yield {
                "setup": setup,
                "languages": f"{language} on {indexed}",
                "milliseconds": float(np.median(milliseconds)),
                **ranking_figures({name: np.array(own) for name, own in found.items()}),
            }


def ranking_figures(reciprocal: dict[str, Floats]) -> dict[str, Any]:
    """MRR and R@1 of methods with intervals, and how far all is above the best signal."""
    rows = resamples(len(reciprocal["all"]))
    best = max(SIGNALS, key=lambda name: reciprocal[name].mean())
    difference = reciprocal["all"] - reciprocal[best]
    fused = reciprocal["all"] - reciprocal["reciprocal ranks"]
    return {
        "mrr": {name: interval(own, rows) for name, own in reciprocal.items()},
        "recall_at_1": {name: interval(own == 1, rows) for name, own in reciprocal.items()},
        "recall_at_10": {name: interval(own >= 0.1, rows) for name, own in reciprocal.items()},
        "best": best,
        "above_best": interval(difference, rows),
        "above_reciprocal_ranks": interval(fused, rows),
    }


def resamples(count: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(0).integers(count, size=(RESAMPLES, count))


def interval(values: npt.NDArray[Any], rows: npt.NDArray[np.int64]) -> list[float]:
    """Return the mean and its 95 % interval, by bootstrap over adapters."""
    means = values[rows].mean(axis=1)
    return [float(values.mean()), *np.quantile(means, [0.025, 0.975]).tolist()]


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
                    "here": asked(world, language, hidden),
                    "taken away": asked(missing, language, absent),
                    "far off": [pair[language == "zh"] for pair in FAR_OFF[1::2]],
                }
                for kind, texts in kinds.items():
                    about = f"{setup} {indexed} {language} {kind}"
                    hits = first_hits(sessions, served, texts)
                    first = list(track(hits, about, total=len(texts)))
                    scores[kind] += [hit.score for hit in first]
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
    with sessions() as session:
        for text in texts:
            query = SearchQuery(text, FILTERS, 1)
            yield search(session, query, world.text_encoder, world.encoder)[0]


def abstention_figures(scores: dict[str, Floats], right: Floats) -> dict[str, Any]:
    """Precision and recall of the decision to answer, and of the first answer being right.

    `scores` are those of the first hits by kind of question.
    """
    answered = {kind: (own >= LEAST_FIT).astype(float) for kind, own in scores.items()}
    outside = np.concatenate([answered["taken away"], answered["far off"]])
    hits = float(answered["here"].sum())
    strangers = np.concatenate([scores["taken away"], scores["far off"]])
    return {
        "answered": {kind: interval(own, resamples(len(own))) for kind, own in answered.items()},
        "precision": hits / max(hits + float(outside.sum()), 1.0),
        "recall": float(answered["here"].mean()),
        "right_when_answered": float((answered["here"] * right).sum() / max(hits, 1.0)),
        "right_always": float(right.mean()),
        "balanced_accuracy": float(answered["here"].mean() + 1 - outside.mean()) / 2,
        "area": area(scores["here"], strangers),
        "recall_at_precision_90": recall_at_precision(scores["here"], strangers, 0.9),
    }


def area(inside: Floats, outside: Floats) -> float:
    """Area under the ROC curve: how often one of `inside` is above one of `outside`."""
    above = inside[:, None] - outside
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def recall_at_precision(inside: Floats, outside: Floats, least: float) -> float:
    """The largest share of `inside` above a threshold that keeps the precision."""
    recalls = [0.0]
    for threshold in np.unique(inside):
        kept, wrong = (inside >= threshold).sum(), (outside >= threshold).sum()
        if kept >= least * (kept + wrong):
            recalls.append(float(kept / len(inside)))
    return max(recalls)


Chooser = Callable[[Session, World, str, int], list[int]]


def by_parts(session: Session, world: World, prompt: str, named: int) -> list[int]:
    """What the registry does; it is not told how many things are named."""
    found = find_candidates(session, prompt, FILTERS, world.text_encoder, world.encoder)
    return [one.adapter_id for one in choose(found, 3)]


def by_top_k(session: Session, world: World, prompt: str, named: int) -> list[int]:
    """The first hits for the whole prompt, as many as it names things."""
    query = SearchQuery(prompt, FILTERS, named)
    hits = search(session, query, world.text_encoder, world.encoder)
    return [hit.adapter_id for hit in hits]


def by_marginal_relevance(session: Session, world: World, prompt: str, named: int) -> list[int]:
    """Maximal marginal relevance (Carbonell and Goldstein, 1998) over the first 20 hits."""
    query = SearchQuery(prompt, FILTERS, 20)
    left = search(session, query, world.text_encoder, world.encoder)
    ids = [hit.adapter_id for hit in left]
    embeddings = weight_embeddings(session, encoder=ENCODER, adapter_ids=ids)
    chosen: list[int] = []
    while left and len(chosen) < named:

        def worth(hit: SearchHit) -> float:
            own = embeddings[hit.adapter_id]
            near = max((float(own @ embeddings[other]) for other in chosen), default=0.0)
            return hit.score - 0.5 * near

        best = max(left, key=worth)
        chosen.append(best.adapter_id)
        left.remove(best)
    return chosen


CHOOSERS: dict[str, Chooser] = {
    "top-k of the whole prompt": by_top_k,
    "maximal marginal relevance": by_marginal_relevance,
    "by parts": by_parts,
}


def measure_selection(
    sessions: sessionmaker[Session], world: World, missing: World
) -> Iterator[dict[str, Any]]:
    """Yield a row for every set-up, language and way to choose.

    Prompts name concepts that are here and some that were taken away, which nothing fits.
    """
    ids = {concept.key: place for place, concept in enumerate(world.concepts, start=1)}
    # Three of four things named have an adapter here.
    some = [*world.concepts, *missing.concepts[: len(world.concepts) // 3]]
    prompts = compose(some, COMPOSED, seed=0)
    hidden = [2] * len(world.concepts)
    for setup in ("full", "sparse"):
        for language in ("en", "zh"):
            fill(sessions, world, qualities(len(ids), setup, seed=2), language, hidden)
            served = as_served(sessions, world)
            for name, chooser in CHOOSERS.items():
                figures = []
                with sessions() as session:
                    for prompt in track(prompts, f"{setup} {language} {name}"):
                        text = prompt.chinese if language == "zh" else prompt.english
                        wanted = {ids[key] for key in prompt.keys if key in ids}
                        got = set(chooser(session, served, text, len(prompt.keys)))
                        figures.append((len(got & wanted), len(got), len(wanted), got == wanted))
                yield {
                    "setup": setup,
                    "language": language,
                    "method": name,
                    **selection_figures(np.array(figures, float)),
                }


def selection_figures(counts: Floats) -> dict[str, Any]:
    """Precision, recall and F1 over all prompts, and the share with exactly the right set."""
    rows = resamples(len(counts))
    found, chosen, wanted = (counts[rows][:, :, place].sum(axis=1) for place in range(3))
    right, taken, named, _ = counts.sum(axis=0)

    def spread(values: Floats, value: float) -> list[float]:
        return [float(value), *np.quantile(values, [0.025, 0.975]).tolist()]

    return {
        "precision": spread(found / np.maximum(chosen, 1), right / max(taken, 1)),
        "recall": spread(found / wanted, right / named),
        "f1": spread(2 * found / (chosen + wanted), 2 * right / (taken + named)),
        "exact": interval(counts[:, 3], rows),
    }


def halves(world: World) -> tuple[World, World]:
    """Two halves of a world's adapters, every kind in both: one is indexed, one taken away."""
    order = np.random.default_rng(0).permutation(len(world.concepts)).tolist()
    return world.of(order[::2]), world.of(order[1::2])


def run(world: World, wanted: Sequence[str]) -> dict[str, Any]:
    """Measure the tables that are wanted."""
    here, missing = halves(world)
    measures: dict[str, Callable[[sessionmaker[Session]], Iterator[dict[str, Any]]]] = {
        "ranking": lambda sessions: measure_ranking(sessions, world),
        "abstention": lambda sessions: measure_abstention(sessions, (here, missing)),
        "selection": lambda sessions: measure_selection(sessions, here, missing),
    }
    results: dict[str, Any] = {
        "adapters": len(world.concepts),
        "here": len(here.concepts),
        "composed": COMPOSED,
    }
    with open_index() as sessions:
        for name in wanted:
            results[name] = list(measures[name](sessions))
    return results


def to_markdown(results: dict[str, Any]) -> str:
    """Write the three tables."""
    from benchmarks.search_tables import abstention_table, ranking_table, selection_table

    tables = {
        "ranking": ranking_table,
        "abstention": abstention_table,
        "selection": selection_table,
    }
    return "\n".join(table(results) for name, table in tables.items() if name in results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--split", default="held-out", choices=("held-out", "validation"))
    parser.add_argument("--checkpoint", type=Path, default=BUILD / "encoder.safetensors")
    parser.add_argument("--output", type=Path, default=BUILD / "benchmarks/search.json")
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    results = run(load_world(options.split, options.checkpoint), options.tables)
    results["split"] = options.split
    if options.tables != TABLES and options.output.exists():
        results = json.loads(options.output.read_text()) | results
    options.output.write_text(json.dumps(results, indent=1) + "\n")
    page = to_markdown(results)
    options.output.with_suffix(".md").write_text(page)
    Console().print(page, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
