"""How adapters of art that nothing has seen compose, by every way of fusing.

Pairs of the wide zoo's adapters that are kept for reports: a thing under an effect, or in a
style, that its own adapter has not seen. Judged is the fall of the loss on a picture of both.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.fusion.measures import TIMES, Case, Mode, compare, losses
from benchmarks.fusion.strangers import Strangers
from benchmarks.results import RESULTS, write_results
from benchmarks.tables import table, with_interval
from demo.fusion_data import Cell
from demo.listing import BASE_MODEL
from demo.paths import DATA, WIDE
from demo.world.zoo import World
from registry.fusion.gates.file import load_gates

PAIRS = 400
GATED = "gated"


def draw_cells(zoo: Strangers, count: int) -> dict[str, list[Cell]]:
    rng = np.random.default_rng(0)
    styles = zoo.style_cells
    chosen = rng.choice(len(styles), min(count, len(styles)), replace=False)
    return {
        "a thing under an effect": [zoo.effect_cell(rng) for _ in range(count)],
        "a thing in a style": [zoo.style_cell(styles[k]) for k in chosen.tolist()],
    }


def cases_of(zoo: Strangers, cells: Sequence[Cell], others: int) -> list[Case]:
    """Load each cell's two adapters, and `others` that its prompt does not name."""
    rng, every = np.random.default_rng(1), np.arange(len(zoo.files))
    cases = []
    for cell in cells:
        beside = rng.choice(np.setdiff1d(every, cell.adapters), others, replace=False).tolist()
        latents = cell.latents.expand(len(TIMES), -1, -1)
        cases.append(Case((*cell.adapters, *beside), latents, [cell.prompt] * len(TIMES)))
    return cases


def measure(zoo: Strangers, cases: list[Case], modes: dict[str, Mode]) -> dict[str, Any]:
    """Return what each way gains over the base, and how much more gates do, with intervals."""
    base = losses(zoo, cases, 0.0)
    what, how = (base - losses(zoo, cases, 1.0, only=[place]) for place in (0, 1))
    gains = {"what alone": what, "how alone": how, "the better of these": np.maximum(what, how)}
    gains |= {name: base - losses(zoo, cases, mode) for name, mode in modes.items()}
    return {"cases": len(cases), **compare(gains, GATED, base, share=False)}


def to_markdown(results: dict[str, Any]) -> str:
    def rows(part: str) -> str:
        own = results["composition"]
        names = list(own[0][part])
        head = [
            "picture",
            "n",
            "cases",
            *(n if part == "values" else f"gated - {n}" for n in names),
        ]
        return table(
            head,
            (
                [row["picture"], str(row["n"]), str(row["cases"])]
                + [with_interval(row[part][name], 1) for name in names]
                for row in own
            ),
        )

    return (
        f"The fall of the loss, in 1/1000 (split {results['split']}); at n = 3 a third adapter "
        "beside the two.\n\n" + rows("values") + "\n" + rows("more")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=WIDE)
    parser.add_argument("--split", default="held-out", choices=("validation", "held-out"))
    parser.add_argument("--first-group", type=int, default=0, help="leave out groups before it")
    parser.add_argument("--gates", type=Path, default=DATA / "gates.safetensors")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--output", type=Path, default=RESULTS / "fusion_outside.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    world = World.load(DATA / "base")
    zoo = Strangers.load(world, options.zoo, options.split, options.first_group)
    gates = load_gates(options.gates, BASE_MODEL)
    found = []
    for picture, cells in draw_cells(zoo, options.pairs).items():
        for size in (2, 3):
            modes: dict[str, Mode] = {"sum": 1.0, "average": 1 / size, GATED: gates}
            own = measure(zoo, cases_of(zoo, cells, size - 2), modes)
            found.append({"picture": picture, "n": size, **own})
            print(found[-1], flush=True)
    results = {"split": options.split, "gates": gates.sha256, "composition": found}
    write_results(options.output, results, to_markdown(results))


if __name__ == "__main__":
    main()
