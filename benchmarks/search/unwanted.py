"""What a question that says what it does not want finds: `animals, not neon`.

Of two kinds of things that some adapters are both, one is asked for without the other, in the ways
that people say so, among the miniature world's adapters with full metadata. Beside it the same
questions without what is not wanted.
"""

import argparse
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy.orm import Session, sessionmaker

from benchmarks.results import RESULTS, write_results
from benchmarks.search.asked import Question, kinds
from benchmarks.search.lists import PAGE, SEED, Answered, Situation, ask, known_of, ndcg, space_of
from benchmarks.search.tables import LANGUAGE_NAMES
from benchmarks.search.world import Language, World, as_served, fill, load_world, open_index
from benchmarks.tables import table
from demo.concepts import Art, plan
from demo.paths import BUILD, DATA
from registry.retrieval.fitness import FITS

SITUATIONS = (Situation("full", "full", "real"), Situation("full", "full", "real", ("zh", "zh")))
WAYS: Mapping[Language, Sequence[str]] = {
    "en": ("{}, not {}", "{} without {}", '{} -"{}"', "{} but no {}", "{} that are not {}"),
    "zh": ("{}，不要{}", "不是{1}的{0}", '{} -"{}"', "{}，不带{}", "除了{1}以外的{0}"),
}
QUESTIONS = 200


def pairs(world: World, art: Art, language: Language) -> Iterator[tuple[Question, str, set[int]]]:
    """Yield questions for one kind without another, that text alone, and what is unwanted."""
    asked = [one for one in kinds(world.concepts, art, language) if len(one.text.split()) < 3]
    found = [
        (one, other)
        for one in asked
        for other in asked
        if one.grades.keys() & other.grades.keys()
        and one.grades.keys() - other.grades.keys()
        # Who says "neon glow, not neon" means neither.
        and not {*one.text.split()} & {*other.text.split()}
    ]
    drawn = random.Random(SEED).sample(found, min(QUESTIONS, len(found)))
    for number, (one, other) in enumerate(drawn):
        text = WAYS[language][number % len(WAYS[language])].format(one.text, other.text)
        grades = {place: own for place, own in one.grades.items() if place not in other.grades}
        yield Question(text, "kind", grades), one.text, {*other.grades}


def measured(
    sessions: sessionmaker[Session], world: World, art: Art, situation: Situation
) -> Iterator[dict[str, Any]]:
    """Yield the figures of the questions, and of the same without what is not wanted."""
    indexed, language = situation.languages
    count = len(world.concepts)
    hidden = np.random.default_rng(SEED).integers(0, 3, count).tolist()
    fill(sessions, world, known_of(situation, count), indexed, hidden, seed=SEED, active=True)
    space = space_of(as_served(sessions, world), situation.encoding)
    drawn = list(pairs(world, art, language))
    unwanted = [other for _, _, other in drawn]
    for name, asked in (
        ("with", [question for question, _, _ in drawn]),
        ("without", [replace(question, text=text) for question, text, _ in drawn]),
    ):
        answered = list(ask(sessions, world, space, asked, f"{name} {language}"))
        yield {"languages": " on ".join((language, indexed)), "unwanted": name} | figures(
            answered, unwanted
        )


def figures(answered: Sequence[Answered], unwanted: Sequence[set[int]]) -> dict[str, Any]:
    """Figures of the list, and of what is on first pages though it was not wanted."""
    shown, fit = [], []
    for one, away in zip(answered, unwanted, strict=True):
        page = one.hits[:PAGE]
        bad = [hit for hit in page if hit.adapter_id - 1 in away]
        shown.append(len(bad) / len(page))
        fit.append(sum(hit.score >= FITS for hit in bad))
    kept = [
        hit.score >= FITS
        for one in answered
        for hit, grade in zip(one.hits, one.grades, strict=True)
        if grade == 2
    ]
    return {
        "questions": len(answered),
        "ndcg": float(np.mean([ndcg(one) for one in answered])),
        "shown": float(np.mean(shown)),
        "unwanted_that_fit": float(np.mean(fit)),
        "right_that_fit": float(np.mean(kept)),
    }


def to_markdown(results: Mapping[str, Any]) -> str:
    text = (
        f"{results['rows'][0]['questions']} questions each, {results['adapters']} "
        f"{results['split']} adapters. `unwanted shown`: the share of first pages that is what was "
        "not wanted; `unwanted fits`: how many results of a page are that and said to fit; "
        "`right fits`: the share of those that do just what is wanted that is said to fit.\n\n"
    )
    head = [
        "questions", "what is not wanted", "nDCG@10", "unwanted shown", "unwanted fits",
        "right fits",
    ]  # fmt: skip
    rows = [
        [
            LANGUAGE_NAMES[row["languages"]],
            {"with": "said", "without": "not said"}[row["unwanted"]],
            *(
                f"{row[name]:.3f}"
                for name in ("ndcg", "shown", "unwanted_that_fit", "right_that_fit")
            ),
        ]
        for row in results["rows"]
    ]
    return text + table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=DATA / "encoder.safetensors")
    parser.add_argument("--zoo", type=Path, default=BUILD / "zoo", help="its listing and files")
    parser.add_argument("--split", default="held-out", choices=("validation", "held-out"))
    parser.add_argument("--output", type=Path, default=RESULTS / "search_unwanted.json")
    options = parser.parse_args()
    world, art = load_world(options.split, options.checkpoint, options.zoo), plan().art
    with open_index() as sessions:
        rows = [row for one in SITUATIONS for row in measured(sessions, world, art, one)]
    results = {"split": options.split, "adapters": len(world.concepts), "rows": rows}
    write_results(options.output, results, to_markdown(results))


if __name__ == "__main__":
    main()
