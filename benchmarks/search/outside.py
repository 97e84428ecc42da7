"""Whether a search keeps its promises over art that nothing shipped has seen.

Adapters of other icon sets and by other authors, on the shipped base (benchmarks/wide/zoo.py tells
how they are made and which take part), indexed with all that a hub says of them, with half of it
lost or wrong, and with nothing. They are asked for in other words than are written of them.
"""

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy.orm import Session, sessionmaker

from benchmarks.results import RESULTS, write_results
from benchmarks.search.asked import NOTHING, Question, nothing_here
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
    what_fits,
)
from benchmarks.search.tables import LANGUAGE_NAMES
from benchmarks.search.world import ENCODER, Language, World, as_served, fill, open_index
from benchmarks.tables import table
from demo.concepts import Concept
from demo.paths import DATA, WIDE
from demo.world.splits import is_stranger
from encoder.training.train import sketch_files
from encoder.weight_encoders.checkpoint import load_encoder
from registry.retrieval.encoder_spaces import ServingEncoder
from registry.text.cached_encoder import load_cached_text_encoder

SITUATIONS = (
    Situation("full", "full", "real"),
    Situation("full", "full", "real", ("zh", "zh")),
    Situation("quarter lost, quarter wrong", "sparse", "real"),
    Situation("quarter lost, quarter wrong", "sparse", "real", ("zh", "zh")),
    Situation("not described", "removed", "real"),
    Situation("not described", "removed", "real", ("zh", "zh")),
    Situation("quarter lost, quarter wrong", "sparse", "none"),
)
# Between what one adapter is about: "locked, blue neon glow", "pin drawn as a thin line icon".
THINGS = re.compile(r" drawn as a |, ")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Outside:
    """Adapters as an index, the zoo's rows in its order, and rows of what has no adapter here."""

    world: World
    rows: Sequence[Row]
    away: Sequence[Row]


def load_outside(folder: Path, checkpoint: Path, split: str) -> Outside:
    """Read and embed the adapters of a split."""
    every = [json.loads(line) for line in (folder / "zoo.jsonl").read_text().splitlines()]
    left_out = [row for row in every if not is_stranger(row["sources"])]
    rows = [row for row in every if row["split"] == split and row not in left_out]
    away = [row for row in left_out if not any(answers(other, row) for other in rows)]
    loaded = load_encoder(checkpoint)
    world = World(
        [to_concept(row) for row in rows],
        loaded.encode(sketch_files([folder / row["file"] for row in rows])),
        ServingEncoder(ENCODER, loaded),
        load_cached_text_encoder(loaded.text_encoder),
    )
    return Outside(world, rows, away)


def to_concept(row: Row) -> Concept:
    """Return what the index is filled from; nothing is drawn of it."""
    english, chinese = tuple(row["captions"]), tuple(row["captions_zh"])
    return Concept(
        key=row["file"],
        kind=row["kind"],
        split=row["split"],
        images=(),
        unseen=(),
        captions=english,
        captions_zh=chinese,
        trigger=row["author"]["nonsense"],
        subject=english[0],
        subject_zh=chinese[0],
    )


def answers(row: Row, asked: Row) -> bool:
    """Whether an adapter does all that is asked for: one of a locked door in neon, if neon is."""
    return set(THINGS.split(asked["key"])) <= set(THINGS.split(row["key"]))


def questions(outside: Outside, language: Language) -> list[Question]:
    """Return one for each adapter, in its order, and those that nothing here answers."""
    words = "question_zh" if language == "zh" else "question"
    found = []
    for asked in outside.rows:
        right = [place for place, row in enumerate(outside.rows) if answers(row, asked)]
        found.append(Question(asked[words], "caption", dict.fromkeys(right, 2)))
    away = dict.fromkeys(row[words] for row in outside.away)
    return found + nothing_here(away, language, SEED)


def answered_in(
    sessions: sessionmaker[Session], outside: Outside, situation: Situation
) -> list[Answered]:
    """Fill the index as the situation has it, and ask everything."""
    world, (indexed, language) = outside.world, situation.languages
    count = len(world.concepts)
    # Covers show the two longer captions; what is asked is none of them.
    known, active = known_of(situation, count), situation.encoding != "none"
    fill(sessions, world, known, indexed, [0] * count, seed=SEED, active=active)
    space = space_of(as_served(sessions, world), situation.encoding)
    asked = questions(outside, language)
    return list(ask(sessions, world, space, asked, f"{situation.name} {language}"))


def outside_figures(answered: Sequence[Answered]) -> dict[str, Any]:
    """Return how well probabilities of first pages hold, and of what is said to fit by itself."""
    probable, right = on_first_pages(answered)
    return {
        "mrr": float(
            np.mean([reciprocal(one.grades) for one in answered if one.question.kind == "caption"])
        ),
        "error": calibration_error(probable, right),
        **what_fits(answered),
        "fits": {
            kind: float(np.mean([fits(one) for one in answered if one.question.kind == kind]))
            for kind in NOTHING
        },
        "questions": {
            kind: sum(one.question.kind == kind for one in answered)
            for kind in ("caption", *NOTHING)
        },
    }


def to_markdown(results: Mapping[str, Any]) -> str:
    counts = results["rows"][0]["questions"]
    text = (
        f"{results['adapters']} {results['split']} adapters of art that nothing shipped has seen. "
        f"{counts['caption']} questions have an answer here (MRR); {counts['taken away']} are "
        f"about what has no adapter here, {counts['far off']} about what no icon shows, and "
        f"{counts['nonsense']} mean nothing: of these the share whose first result is said to fit. "
        "`error` as above. Then all results on first pages that are said to fit: how many, how "
        "probably they are right by what is said, and how many are.\n\n"
    )
    head = [
        "metadata", "encoder", "questions", "MRR", "error", "said to fit", "right by what is said",
        "right in truth", "fits: not here", "far off", "nonsense",
    ]  # fmt: skip
    rows = [
        [
            row["metadata"],
            {"real": "yes", "none": "none"}[row["encoder"]],
            LANGUAGE_NAMES[row["languages"]],
            *(f"{row[name]:.3f}" for name in ("mrr", "error")),
            str(row["said_to_fit"]),
            *("" if row[name] is None else f"{row[name]:.2f}" for name in ("said", "true")),
            *(f"{row['fits'][kind]:.3f}" for kind in NOTHING),
        ]
        for row in results["rows"]
    ]
    return text + table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=WIDE)
    parser.add_argument("--checkpoint", type=Path, default=DATA / "encoder.safetensors")
    parser.add_argument("--split", default="held-out", choices=("validation", "held-out"))
    parser.add_argument("--output", type=Path, default=RESULTS / "search_outside.json")
    options = parser.parse_args()
    outside = load_outside(options.zoo, options.checkpoint, options.split)
    with open_index() as sessions:
        rows = [
            {
                "metadata": situation.name,
                "encoder": situation.encoding,
                "languages": " on ".join(situation.languages[::-1]),
                **outside_figures(answered_in(sessions, outside, situation)),
            }
            for situation in SITUATIONS
        ]
    results = {"split": options.split, "adapters": len(outside.rows), "rows": rows}
    write_results(options.output, results, to_markdown(results))


if __name__ == "__main__":
    main()
