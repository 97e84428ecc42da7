"""Measure retrieval by weights alone: adapters never seen, found by sentences never seen.

Everything is fitted on the zoo's training split and tuned within it or on validation;
the split named (held-out) is only looked at to fill the table.
"""

import argparse
from pathlib import Path

from benchmarks.results import RESULTS, write_results
from benchmarks.retrieval.methods import run, to_markdown
from benchmarks.retrieval.networks import FOLDER as NETWORK_FOLDER
from benchmarks.retrieval.zoo import Zoo
from demo.paths import BUILD


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=BUILD / "zoo")
    parser.add_argument("--base", type=Path, default=BUILD / "base")
    parser.add_argument("--split", default="held-out", choices=("held-out", "validation"))
    parser.add_argument("--encoder", type=Path, default=BUILD / "encoder.safetensors")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each network")
    parser.add_argument("--networks", type=Path, default=NETWORK_FOLDER)
    parser.add_argument("--output", type=Path, default=RESULTS / "retrieval.json")
    options = parser.parse_args()
    zoo = Zoo.load(options.zoo)
    results = {
        "split": options.split,
        "trained_on": len(zoo.indices("train")),
        "galleries": {"own": len(zoo.indices(options.split)), "everything": len(zoo.paths)},
        "rows": run(
            zoo, options.base, options.encoder, options.split, options.networks, options.seeds
        ),
    }
    write_results(options.output, results, to_markdown(results))


if __name__ == "__main__":
    main()
