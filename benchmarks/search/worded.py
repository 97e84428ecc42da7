"""Learn what is said of adapters that have some of a question's words, where nothing else is known.

Prints the constants of `probabilities_of_worded` (registry/retrieval/fitness.py), learned on
validation adapters of the miniature world of which names, tags and trigger words are known and no
captions, and how well they hold there and in the folder of benchmarks/search/described.py, from
whose first questions nothing is learned here.
"""

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.search.described import FILE, answer, indexed, write_folder
from benchmarks.search.lists import Situation, answers
from benchmarks.search.world import load_world, open_index
from benchmarks.tables import table
from demo.concepts import plan
from demo.paths import BUILD, DATA
from encoder.arrays import Bools, Doubles
from registry.retrieval.fitness import has_every_word
from registry.retrieval.ranking import SearchHit
from registry.retrieval.terms import SIGNALS

SITUATIONS = [
    Situation("names alone", "full", "none", languages, captioned=0)
    for languages in (("en", "en"), ("zh", "zh"), ("en", "zh"))
]
# So many results of a question are looked at.
FIRST = 20
STEPS, RIDGE = 30, 1e-2
BANDS = (0.0, 0.15, 0.4, 0.6, 0.8, 1.0)
Judged = Sequence[tuple[SearchHit, bool]]  # hits, and whether each is right


def features(pages: Iterable[Judged]) -> tuple[Doubles, Bools]:
    """Return of hits that have some words the nearness, how far behind, the share, and 1: (n, 4).

    And whether they are right (n,).
    """
    rows, right = list[list[float]](), list[bool]()
    for page in pages:
        nearest = max((hit.signals["captions"] or -1.0 for hit, _ in page), default=-1.0)
        for hit, is_right in page[:FIRST]:
            said, words = hit.signals["captions"], hit.signals["words"]
            if said is not None and words and not has_every_word(np.array([words]))[0]:
                rows.append([said, nearest - said, words, 1.0])
                right.append(is_right)
    return np.array(rows), np.array(right)


def learn(told: Doubles, right: Bools) -> Doubles:
    """Return the weights (4,) of a logistic regression, by Newton's method."""
    weights = np.zeros(told.shape[1])
    for _ in range(STEPS):
        probable = 1 / (1 + np.exp(-told @ weights))
        slope = told.T @ (right - probable) - RIDGE * weights
        curve = (told.T * (probable * (1 - probable))) @ told + RIDGE * np.eye(len(weights))
        weights = weights + np.linalg.solve(curve, slope)
    return weights


def in_the_world(checkpoint: Path, zoo: Path) -> Iterator[Judged]:
    world, planned = load_world("validation", checkpoint, zoo), plan()
    keys = {concept.key for concept in world.concepts}
    away = [c for c in planned.concepts if c.split != "held-out" and c.key not in keys]
    with open_index() as sessions:
        for situation in SITUATIONS:
            for one in answers(sessions, world, away, planned.art, situation):
                right = [grade > 0 for grade in one.grades]
                yield list(zip(one.hits, right, strict=True))


def in_the_folder() -> Iterator[Judged]:
    told = json.loads(FILE.read_text("utf-8"))
    absent = [{"text": text, "right": []} for text in told["absent"][: len(told["absent"]) // 2]]
    with indexed(told["adapters"], write_folder) as registry:
        for question in [*told["questions"]["chosen on"], *absent]:
            found = answer(registry, question["text"], SIGNALS)
            yield [(hit, name in question["right"]) for name, hit in found]


def rows_of(where: str, told: Doubles, right: Bools, weights: Doubles) -> Iterator[list[str]]:
    probable = 1 / (1 + np.exp(-told @ weights))
    for least, most in pairwise(BANDS):
        own = (probable >= least) & (probable < most)
        if own.any():
            yield [
                *(where, f"{least:.2f} to {most:.2f}", str(own.sum())),
                *(f"{probable[own].mean():.2f}", f"{right[own].mean():.2f}"),
            ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=DATA / "encoder.safetensors")
    parser.add_argument("--zoo", type=Path, default=BUILD / "zoo", help="its listing and files")
    options = parser.parse_args()
    learned_from = features(in_the_world(options.checkpoint, options.zoo))
    weights = learn(*learned_from)
    rows = [
        *rows_of("validation adapters, names alone", *learned_from, weights),
        *rows_of("a folder", *features(in_the_folder()), weights),
    ]
    print(table(["where", "probability", "results", "mean", "right"], rows))
    slope, lag, share, doubt = weights * [1, -1, 1, -1]
    print("WORDED_SLOPE, WORDED_LAG, WORDED_SHARE, WORDED_DOUBT = ", end="")
    print(", ".join(f"{one:.2f}" for one in (slope, lag, share, doubt)))


if __name__ == "__main__":
    main()
