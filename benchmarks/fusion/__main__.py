"""Measure fusion on the zoo's held-out adapters: retention, composition and drift.

Retention: what is left of an adapter's own gain when others are loaded beside it. A gate
that picks one adapter would win that alone, so there is composition too: an object adapter
and a style adapter on real pictures of that object in that style, which nothing has seen; also
with a third adapter that nobody asks for. Drift: harm done to pictures of none of them.
Loss is flow matching at fixed times and noise, the same for every mode.
"""

import argparse
from pathlib import Path

from benchmarks.fusion.measures import (
    SIZES,
    composition_cases,
    losses,
    measure_all,
    retention_cases,
)
from benchmarks.fusion.tables import to_markdown
from benchmarks.results import RESULTS, write_results
from demo.fusion_data import Zoo
from demo.listing import BASE_MODEL
from demo.paths import BUILD
from demo.zoo import World
from registry.fusion.gates.file import load_gates
from registry.fusion.gates.interface import Gates

TRIED = (0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)


def try_strengths(zoo: Zoo, split: str, count: int) -> None:
    """Print by n and strength the fall of the loss, on own pictures and on withheld cells."""
    for size in SIZES[1:]:
        sets = [retention_cases(zoo, split, size, count, unseen=False)]
        sets += [composition_cases(zoo, split, size - 2)] if size in (2, 3) else []
        for strength in TRIED:
            falls = [losses(zoo, cases, 0.0) - losses(zoo, cases, strength) for cases in sets]
            print(size, strength, *(f"{1000 * fall.mean():.1f}" for fall in falls), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, default=BUILD / "base")
    parser.add_argument("--zoo", type=Path, default=BUILD / "zoo")
    parser.add_argument("--gates", type=Path, default=BUILD / "gates.safetensors")
    parser.add_argument("--autolora", type=Path, default=BUILD / "gates-autolora.safetensors")
    parser.add_argument("--mixed", type=Path, default=BUILD / "gates-autolora-mixed.safetensors")
    parser.add_argument("--split", default="held-out", choices=("held-out", "validation"))
    parser.add_argument("--sets", type=int, default=384, help="sets of adapters for each n")
    parser.add_argument("--strengths", action="store_true", help="only try single strengths")
    parser.add_argument("--output", type=Path, default=RESULTS / "fusion.json")
    options = parser.parse_args()
    # Withheld cells for tuning pair adapters of the other two splits.
    splits = ("held-out",) if options.split == "held-out" else ("train", "validation")
    zoo = Zoo.load(World.load(options.base), options.zoo, splits)
    if options.strengths:
        try_strengths(zoo, options.split, options.sets)
        return
    gates: dict[str, Gates] = {}
    paths = {
        "AutoLoRA": options.autolora,
        "AutoLoRA, our data": options.mixed,
        "rivals": options.gates,
    }
    for name, path in paths.items():
        gates[name] = load_gates(path, BASE_MODEL)
    results = measure_all(zoo, gates, "rivals", options.split, options.sets)
    write_results(options.output, results, to_markdown(results))


if __name__ == "__main__":
    main()
