"""Which adapters are taken for a prompt that names several things."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from rich.progress import track
from sqlalchemy.orm import Session, sessionmaker

from benchmarks.intervals import mean_interval, resamples, with_spread
from benchmarks.search.prompts import compose
from benchmarks.search.world import ENCODER, FILTERS, World, as_served, fill, qualities
from encoder.arrays import Doubles
from registry.retrieval.candidates import find_candidates
from registry.retrieval.encoder_spaces import Space
from registry.retrieval.hybrid import SearchQuery, search
from registry.retrieval.ranking import SearchHit
from registry.retrieval.selection import choose
from registry.retrieval.vector import weight_embeddings

COMPOSED = 216

Chooser = Callable[[Session, World, str, int], list[int]]


def by_parts(session: Session, world: World, prompt: str, named: int) -> list[int]:
    """What the registry does; it is not told how many things are named."""
    found = find_candidates(session, prompt, FILTERS, world.text_encoder, Space(world.encoder))
    return [one.adapter_id for one in choose(found, 3)]


def by_top_k(session: Session, world: World, prompt: str, named: int) -> list[int]:
    """The first hits for the whole prompt, as many as it names things."""
    query = SearchQuery(prompt, FILTERS, named)
    hits = search(session, query, world.text_encoder, [Space(world.encoder)])
    return [hit.adapter_id for hit in hits]


def by_marginal_relevance(session: Session, world: World, prompt: str, named: int) -> list[int]:
    """Maximal marginal relevance (Carbonell and Goldstein, 1998) over the first 20 hits."""
    query = SearchQuery(prompt, FILTERS, 20)
    left = search(session, query, world.text_encoder, [Space(world.encoder)])
    ids = [hit.adapter_id for hit in left]
    embeddings = weight_embeddings(session, encoder=ENCODER, adapter_ids=ids)
    chosen: list[int] = []
    while left and len(chosen) < named:

        def worth(hit: SearchHit) -> float:
            own = embeddings[hit.adapter_id]
            near = max((float(own @ embeddings[other]) for other in chosen), default=0.0)
            return hit.surety - 0.5 * near

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


def selection_figures(counts: Doubles) -> dict[str, Any]:
    """Precision, recall and F1 over all prompts, and the share with exactly the right set."""
    rows = resamples(len(counts))
    found, chosen, wanted = (counts[rows][:, :, place].sum(axis=1) for place in range(3))
    right, taken, named, _ = counts.sum(axis=0)

    return {
        "precision": with_spread(right / max(taken, 1), found / np.maximum(chosen, 1)),
        "recall": with_spread(right / named, found / wanted),
        "f1": with_spread(2 * right / (taken + named), 2 * found / (chosen + wanted)),
        "exact": mean_interval(counts[:, 3], rows),
    }
