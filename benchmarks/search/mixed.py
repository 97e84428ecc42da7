"""Adapters that an encoder knows well and such that it knows hardly, side by side in one index.

So is a hub's: art like that which the encoder learned from beside art that nothing has seen. Here
the miniature world's adapters and those of other icon sets are indexed together, and each is
asked for by the caption that its covers do not show, and those from outside in other words too.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy.orm import Session, sessionmaker

from benchmarks.intervals import mean_interval
from benchmarks.results import RESULTS, write_results
from benchmarks.search.asked import NOTHING, Question, captions
from benchmarks.search.lists import (
    SEED,
    Answered,
    Situation,
    ask,
    calibration_error,
    fits,
    known_of,
    on_first_pages,
    reciprocal,
    space_of,
)
from benchmarks.search.lists import SITUATIONS as EVERY
from benchmarks.search.outside import Outside, load_outside, questions
from benchmarks.search.tables import LANGUAGE_NAMES
from benchmarks.search.world import (
    Language,
    World,
    as_served,
    captions_of,
    fill,
    load_world,
    open_index,
)
from benchmarks.tables import table, with_interval
from demo.paths import BUILD, DATA, WIDE
from encoder.arrays import Doubles
from registry.retrieval.terms import SIGNALS

SITUATIONS = tuple(one for one in EVERY if one.encoding == "real" and one.languages[0] != "both")
PARTS = ("inside", "outside", "outside, in other words")


@dataclass(frozen=True)
class Mixed:
    """One index of both; the first adapters are the miniature world's."""

    world: World
    inside: int
    outside: Outside

    def asked(self, language: Language, hidden: Sequence[int]) -> list[Question]:
        """Return questions about every adapter, those from outside twice, and about nothing."""
        by_captions = captions(captions_of(self.world.concepts, language, hidden))
        strange = questions(self.outside, language)
        count = len(self.outside.rows)
        # Of several that do the same each is right, whosever caption is asked.
        grades = [self._moved(one.grades) for one in strange[:count]]
        outside = by_captions[self.inside :]
        return [
            *by_captions[: self.inside],
            *(replace(one, grades=own) for one, own in zip(outside, grades, strict=True)),
            *(replace(one, grades=own) for one, own in zip(strange[:count], grades, strict=True)),
            *strange[count:],
        ]

    def also(self) -> dict[int, list[int]]:
        """Return by place which others do what an adapter from outside does."""
        found = {}
        for place, one in enumerate(questions(self.outside, "en")[: len(self.outside.rows)]):
            grades = self._moved(one.grades)
            found[place + self.inside] = [own for own in grades if own != place + self.inside]
        return found

    def _moved(self, grades: Mapping[int, int]) -> dict[int, int]:
        return {place + self.inside: grade for place, grade in grades.items()}

    def part_of(self, place: int) -> str:
        """Name the adapters that a question is about, by its place among those asked."""
        if place < self.inside:
            return PARTS[0]
        return PARTS[1 + (place >= len(self.world.concepts))]


def load_mixed(split: str, checkpoint: Path, zoo: Path, wide: Path) -> Mixed:
    """Read and embed both zoos' adapters of a split."""
    inside, outside = load_world(split, checkpoint, zoo), load_outside(wide, checkpoint, split)
    joined = replace(
        inside,
        concepts=[*inside.concepts, *outside.world.concepts],
        embeddings=np.concatenate([inside.embeddings, outside.world.embeddings]),
    )
    return Mixed(joined, len(inside.concepts), outside)


def answers(
    sessions: sessionmaker[Session], mixed: Mixed, situation: Situation
) -> Iterator[Answered]:
    """Fill the index as the situation has it, and ask everything."""
    world, (indexed, language) = mixed.world, situation.languages
    count = len(world.concepts)
    hidden = np.random.default_rng(SEED).integers(0, 3, count).tolist()
    fill(sessions, world, known_of(situation, count), indexed, hidden, seed=SEED)
    space = space_of(as_served(sessions, world), situation.encoding)
    about = f"mixed, {situation.name} {language} on {indexed}"
    yield from ask(sessions, world, space, mixed.asked(language, hidden), about)


def figures(mixed: Mixed, answered: Sequence[Answered]) -> list[dict[str, Any]]:
    """Return how well each part of the adapters is found, by each signal and by all."""
    probable, right = on_first_pages(answered)
    whole = {
        "error": calibration_error(probable, right),
        "fits": {
            kind: float(np.mean([fits(one) for one in answered if one.question.kind == kind]))
            for kind in NOTHING
        },
    }
    about = [one for one in answered if one.question.kind == "caption"]
    rows = []
    for part in PARTS:
        own = [one for place, one in enumerate(about) if mixed.part_of(place) == part]
        found: dict[str, Doubles] = {
            signal: np.array([by_signal(one, signal) for one in own]) for signal in SIGNALS
        }
        found["all"] = np.array([reciprocal(one.grades) for one in own])
        best = max(SIGNALS, key=lambda signal: float(found[signal].mean()))
        rows.append(
            {
                "part": part,
                "questions": len(own),
                "mrr": {name: mean_interval(values) for name, values in found.items()},
                "best": best,
                "more": mean_interval(found["all"] - found[best]),
                "unlikely": float(np.mean([is_unlikely(one) for one in own])),
                **whole,
            }
        )
    return rows


def by_signal(one: Answered, signal: str) -> float:
    """Return 1 / place of the first right one in one signal's order, its equals shared."""
    scores = [hit.signals.get(signal) for hit in one.hits]  # type: ignore[call-overload]
    known: Doubles = np.array([-np.inf if score is None else score for score in scores], float)
    right = np.array(one.grades, float) > 0
    if not right.any() or not np.isfinite(known[right]).any():
        return 0.0
    best = known[right].max()
    equals = (known == best) & ~right
    return float(1 / (1 + (known[~right] > best).sum() + equals.sum() / 2))


def is_unlikely(one: Answered) -> bool:
    """Whether nothing right is at least perhaps what was asked for."""
    bands = [h.band for h, grade in zip(one.hits, one.grades, strict=True) if grade > 0]
    return all(band == "probably not" for band in bands)


def to_markdown(results: dict[str, Any]) -> str:
    text = (
        f"{results['inside']} {results['split']} adapters of the miniature world and "
        f"{results['outside']} of art that nothing shipped has seen, in one index. `unlikely` is "
        "the share of questions of which nothing right is on the page but as *probably not*.\n\n"
    )
    head = [
        "metadata", "questions", "about", *SIGNALS, "all", "all - best signal", "unlikely",
        "error", "fits: not here", "far off", "nonsense",
    ]  # fmt: skip
    rows = [
        [
            row["metadata"],
            LANGUAGE_NAMES[row["languages"]],
            f"{row['part']} ({row['questions']})",
            *(f"{row['mrr'][signal][0]:.3f}" for signal in SIGNALS),
            with_interval(row["mrr"]["all"], 3),
            f"{row['best']}, {with_interval(row['more'], 3)}",
            f"{row['unlikely']:.2f}",
            f"{row['error']:.3f}",
            *(f"{row['fits'][kind]:.3f}" for kind in NOTHING),
        ]
        for row in results["rows"]
    ]
    return text + table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=BUILD / "zoo", help="the miniature world's")
    parser.add_argument("--wide", type=Path, default=WIDE)
    parser.add_argument("--checkpoint", type=Path, default=DATA / "encoder.safetensors")
    parser.add_argument("--split", default="held-out", choices=("validation", "held-out"))
    parser.add_argument("--output", type=Path, default=RESULTS / "search_mixed.json")
    options = parser.parse_args()
    mixed = load_mixed(options.split, options.checkpoint, options.zoo, options.wide)
    rows = []
    with open_index() as sessions:
        for situation in SITUATIONS:
            answered = list(answers(sessions, mixed, situation))
            named = {
                "metadata": situation.name,
                "languages": " on ".join(situation.languages[::-1]),
            }
            rows += [{**named, **row} for row in figures(mixed, answered)]
    results = {
        "split": options.split,
        "inside": mixed.inside,
        "outside": len(mixed.outside.rows),
        "rows": rows,
    }
    write_results(options.output, results, to_markdown(results))


if __name__ == "__main__":
    main()
