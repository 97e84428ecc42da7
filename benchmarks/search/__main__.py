"""Measure the whole search on adapters never seen, through PostgreSQL as it serves.

Four tables: lists (what a person gets, in indexes of every kind), ranking (which signal finds
what, and all together), abstention (does it notice that nothing fits) and selection (which
adapters it takes for a prompt that names several things). Questions are captions that no cover
shows, and more in the first table; nothing here was tuned on these adapters.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy.orm import Session, sessionmaker

from benchmarks.results import DOCS, RESULTS, write_results
from benchmarks.search.abstention import measure_abstention
from benchmarks.search.lists import measure_lists
from benchmarks.search.ranking import measure_ranking
from benchmarks.search.reliability import draw_reliability
from benchmarks.search.selection import COMPOSED, measure_selection
from benchmarks.search.tables import (
    abstention_table,
    lists_table,
    ranking_table,
    selection_table,
)
from benchmarks.search.world import World, load_world, open_index
from demo.concepts import plan
from demo.paths import BUILD

TABLES = {
    "lists": lists_table,
    "ranking": ranking_table,
    "abstention": abstention_table,
    "selection": selection_table,
}


def halves(world: World) -> tuple[World, World]:
    """Two halves of a world's adapters, every kind in both: one is indexed, one taken away."""
    order = np.random.default_rng(0).permutation(len(world.concepts)).tolist()
    return world.of(order[::2]), world.of(order[1::2])


def run(world: World, wanted: Sequence[str]) -> dict[str, Any]:
    """Measure the tables that are wanted."""
    here, missing = halves(world)
    planned = plan()
    keys = {concept.key for concept in world.concepts}
    split = {concept.split for concept in world.concepts}
    away = [c for c in planned.concepts if c.split in split and c.key not in keys]
    # Where every adapter of the split is here, others are taken away that are no better known.
    away = away or list(missing.concepts)
    asked = here if away == list(missing.concepts) else world
    measures: dict[str, Callable[[sessionmaker[Session]], Iterator[dict[str, Any]]]] = {
        "lists": lambda sessions: measure_lists(sessions, asked, away, planned.art),
        "ranking": lambda sessions: measure_ranking(sessions, world),
        "abstention": lambda sessions: measure_abstention(sessions, (here, missing)),
        "selection": lambda sessions: measure_selection(sessions, here, missing),
    }
    results: dict[str, Any] = {
        "adapters": len(world.concepts),
        "listed": len(asked.concepts),
        "here": len(here.concepts),
        "composed": COMPOSED,
    }
    with open_index() as sessions:
        for name in wanted:
            results[name] = list(measures[name](sessions))
    return results


def to_markdown(results: dict[str, Any]) -> str:
    """Write the tables that were measured."""
    return "\n".join(table(results) for name, table in TABLES.items() if name in results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--split", default="held-out", choices=("held-out", "validation"))
    parser.add_argument("--checkpoint", type=Path, default=BUILD / "encoder.safetensors")
    parser.add_argument("--zoo", type=Path, default=BUILD / "zoo", help="its listing and files")
    parser.add_argument("--output", type=Path, default=RESULTS / "search.json")
    parser.add_argument("--plot", type=Path, default=DOCS / "images/search-reliability.png")
    parser.add_argument("--tables", nargs="+", default=[*TABLES], choices=TABLES)
    options = parser.parse_args()
    results = run(load_world(options.split, options.checkpoint, options.zoo), options.tables)
    results["split"] = options.split
    if options.tables != [*TABLES] and options.output.exists():
        results = json.loads(options.output.read_text()) | results
    write_results(options.output, results, to_markdown(results))
    if "lists" in options.tables:
        draw_reliability(results["lists"], options.plot)


if __name__ == "__main__":
    main()
