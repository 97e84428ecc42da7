"""What questions with a slip of the fingers find: `gradiant background`.

Kinds of things as people ask for them (benchmarks/search/asked.py), with one letter too many, too
few, another or swapped with the next in one word of five letters or more, beside the same spelt
right, among the miniature world's adapters with full metadata.
"""

import argparse
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import RESULTS, write_results
from benchmarks.search.asked import Question, kinds
from benchmarks.search.lists import (
    PAGE,
    SEED,
    Answered,
    Situation,
    ask,
    fits,
    known_of,
    ndcg,
    recall,
    space_of,
)
from benchmarks.search.world import as_served, fill, load_world, open_index
from benchmarks.tables import table
from demo.concepts import plan
from demo.paths import BUILD, DATA

SITUATION = Situation("full", "full", "real")
LETTERS = "aeioulnrst"
_LONG = re.compile(r"[a-z]{5,}", re.IGNORECASE)
SLIPS: Sequence[Callable[[str, int, random.Random], str]] = (
    lambda word, place, rng: word[:place] + word[place + 1 :],
    lambda word, place, rng: word[:place] + word[place] + word[place:],
    lambda word, place, rng: word[:place] + rng.choice(LETTERS) + word[place + 1 :],
    lambda word, place, rng: word[:place] + word[place + 1] + word[place] + word[place + 2 :],
)


def slipped(text: str, rng: random.Random) -> str:
    """Return a text with a slip in one of its longer words; as it is where it has none.

    The first letter is right, as it mostly is.
    """
    words = list(_LONG.finditer(text))
    if not words:
        return text
    word = rng.choice(words)
    typed = word[0]
    while typed == word[0]:
        typed = rng.choice(SLIPS)(word[0], rng.randrange(1, len(word[0]) - 1), rng)
    return text[: word.start()] + typed + text[word.end() :]


def figures(answered: Sequence[Answered]) -> dict[str, Any]:
    first = [any(one.grades[:1]) for one in answered]
    return {
        "ndcg": float(np.mean([ndcg(one) for one in answered])),
        "recall": float(np.mean([recall(one) for one in answered])),
        "first_right": float(np.mean(first)),
        "first_fits": float(np.mean([fits(one) for one in answered])),
        "shown": float(np.mean([any(one.grades[:PAGE]) for one in answered])),
    }


def to_markdown(results: Mapping[str, Any]) -> str:
    text = (
        f"{results['questions']} questions, {results['adapters']} {results['split']} adapters. "
        "`fits`: the share whose first result is said to fit.\n\n"
    )
    head = ["questions", "nDCG@10", "recall@10", "first is right", "fits", "any right in ten"]
    names = ("ndcg", "recall", "first_right", "first_fits", "shown")
    rows = [[row["spelt"], *(f"{row[name]:.3f}" for name in names)] for row in results["rows"]]
    return text + table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=DATA / "encoder.safetensors")
    parser.add_argument("--zoo", type=Path, default=BUILD / "zoo", help="its listing and files")
    parser.add_argument("--split", default="held-out", choices=("validation", "held-out"))
    parser.add_argument("--output", type=Path, default=RESULTS / "search_misspelt.json")
    options = parser.parse_args()
    world = load_world(options.split, options.checkpoint, options.zoo)
    count, rng = len(world.concepts), random.Random(SEED)
    right = [one for one in kinds(world.concepts, plan().art, "en") if _LONG.search(one.text)]
    wrong: list[Question] = [replace(one, text=slipped(one.text, rng)) for one in right]
    hidden = np.random.default_rng(SEED).integers(0, 3, count).tolist()
    with open_index() as sessions:
        fill(sessions, world, known_of(SITUATION, count), "en", hidden, seed=SEED, active=True)
        space = space_of(as_served(sessions, world), SITUATION.encoding)
        rows = [
            {"spelt": spelt, **figures(list(ask(sessions, world, space, asked, spelt)))}
            for spelt, asked in (("spelt right", right), ("one slip", wrong))
        ]
    results = {
        "split": options.split, "adapters": count, "questions": len(right), "rows": rows,
    }  # fmt: skip
    write_results(options.output, results, to_markdown(results))


if __name__ == "__main__":
    main()
