"""Measure what others learn from the adapters that the shipped encoder learned on with.

Ridges, AutoLoRA's encoder and W2T, each from nothing, are asked for adapters of art that none has
seen (benchmarks.wide.shipped asks the shipped encoder the same); then a plain ridge of fewer
adapters, and of fewer sources.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch

from benchmarks.results import DOCS, RESULTS, write_results
from benchmarks.retrieval.zoo import Space
from benchmarks.tables import table
from benchmarks.wide.figures import auroc, chance, spearman
from benchmarks.wide.networks import train_rivals
from benchmarks.wide.recipes import Fitted, from_nothing, plain
from benchmarks.wide.ruler import Ruler
from benchmarks.wide.shipped import arguments_of
from benchmarks.wide.tables import encoders_table
from benchmarks.wide.zoo import Outside, WideZoo, of
from encoder.arrays import Ints

mpl.use("Agg")

COUNTS, SOURCES, DRAWS = (60, 120, 240, 480, 960, 1920), (5, 10, 20, 40), 3
# An adapter is found early where its reciprocal position is so much at least, as the fifth's.
EARLY = 1 / 5


def ridges(zoo: WideZoo, train: Ints, sketched: Fitted) -> Iterator[tuple[str, Space]]:
    """Yield ridges of everybody."""
    yield "ridge on sketches, plain", sketched.space
    yield "ridge as shipped, from nothing", from_nothing(zoo, train)


def slow_ones(zoo: WideZoo, train: Ints, seeds: int) -> Iterator[tuple[str, Space]]:
    """Yield what takes hours; networks stop early by the validation adapters."""
    yield "ridge on whole ΔW, plain", plain(zoo, train, exact=True).space
    yield from train_rivals(zoo, train, seeds)


def doubts(ruler: Ruler, fitted: Fitted) -> list[dict[str, Any]]:
    """Measure whether what an encoder says of its certainty tells where it is wrong."""
    found = np.mean(list(ruler.outside.found(ruler.own(fitted.space)).values()), axis=0)
    signals = {
        "small variance": -fitted.variances[ruler.members],
        "long prediction": fitted.lengths[ruler.members],
    }
    return [
        {
            "signal": name,
            "correlation": spearman(signal, found),
            "auroc": auroc(signal, (found >= EARLY).astype(np.int64)),
        }
        for name, signal in signals.items()
    ]


def growth(zoo: WideZoo, ruler: Ruler, train: Ints) -> list[dict[str, Any]]:
    """Measure encoders of fewer adapters of all sources, and of all adapters of fewer sources."""
    rows, names = [], sorted(set(of(zoo.sources, train)))
    of_adapter = [set(row["sources"]) for row in of(zoo.rows, train)]
    for draw in range(DRAWS):
        rng = np.random.default_rng(draw)
        order, mixed = rng.permutation(len(names)), rng.permutation(len(train))
        subsets = [("adapters", train[mixed[:count]]) for count in COUNTS if count < len(train)]
        for count in SOURCES:
            chosen = {names[k] for k in order[:count]}
            own = np.array([sources <= chosen for sources in of_adapter])
            subsets.append((f"{count} sources", train[own]))
            # As many adapters of all sources, to tell width from number.
            subsets.append((f"as many as of {count}", train[mixed[: own.sum()]]))
        if draw == 0:
            subsets.append(("adapters", train))
        for what, subset in subsets:
            if len(subset) < 40:
                continue
            mrr = ruler.mrr(plain(zoo, subset).space)
            rows.append({"what": what, "adapters": len(subset), "draw": draw, "mrr": mrr})
            print(rows[-1], flush=True)
    return rows


def draw_growth(rows: list[dict[str, Any]]) -> None:
    """Draw MRR by the number of training adapters, with those of few sources."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4))
    styles = (("adapters", "o-", "of all sources"), ("sources", "s--", "of few sources only"))
    for what, style, label in styles:
        groups: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            if row["what"] == what == "adapters":
                groups.setdefault(str(row["adapters"]), []).append(row)
            elif what == "sources" and row["what"].endswith(" sources"):
                groups.setdefault(row["what"], []).append(row)
        points = sorted(
            (np.mean([r["adapters"] for r in own]), np.mean([r["mrr"] for r in own]), name)
            for name, own in groups.items()
        )
        axes.plot([p[0] for p in points], [p[1] for p in points], style, label=label)
        if what == "sources":
            for count, mrr, name in points:
                axes.annotate(name, (count, mrr), (4, -12), textcoords="offset points", fontsize=8)
    axes.axhline(chance(), color="gray", lw=1, ls=":", label="chance")
    axes.set(xscale="log", xlabel="adapters trained on", ylabel="MRR, sources never seen")
    every = max(row["adapters"] for row in rows)
    # Numbers beside the last would stand upon it.
    ticks = [*(count for count in COUNTS if count < 0.75 * every), every]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(DOCS / "images/wide.png", dpi=110, bbox_inches="tight")


def to_markdown(results: dict[str, Any]) -> str:
    size = results["size"]
    parts = [
        f"{size['adapters']} training adapters of {size['sources']} sources and "
        f"{size['authors']} authors (split {results['split']}).\n",
        encoders_table(results["encoders"]),
        table(
            ["sign of a good prediction", "correlation with the MRR", "AUROC of the first 5"],
            (
                [row["signal"], f"{row['correlation']:+.2f}", f"{row['auroc']:.2f}"]
                for row in results["doubts"]
            ),
        ),
        "![MRR by adapters trained on](../images/wide.png)\n",
        growth_table(results["growth"]),
    ]
    return "\n".join(parts)


def growth_table(rows: Sequence[dict[str, Any]]) -> str:
    def mean_of(what: str, column: str) -> float:
        return float(np.mean([row[column] for row in rows if row["what"] == what]))

    lines = [
        [
            str(count),
            f"{mean_of(f'{count} sources', 'adapters'):.0f}",
            f"{mean_of(f'{count} sources', 'mrr'):.3f}",
            f"{mean_of(f'as many as of {count}', 'mrr'):.3f}",
        ]
        for count in SOURCES
        if any(row["what"] == f"{count} sources" for row in rows)
    ]
    return table(["sources", "their adapters", "MRR", "of as many adapters of all sources"], lines)


def size_of(zoo: WideZoo, rows: Ints) -> dict[str, Any]:
    own = of(zoo.rows, rows)
    return {
        "adapters": len(own),
        "sources": len({source for row in own for source in row["sources"]}),
        "authors": len({row["author"]["name"] for row in own}),
        "kinds": dict(Counter(row["kind"] for row in own)),
        "ranks": dict(sorted(Counter(row["author"]["rank"] for row in own).items())),
        "algorithms": dict(Counter(row["author"]["algorithm"] for row in own)),
    }


def main() -> None:
    parser = arguments_of(__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="ridges on sketches only")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each network")
    parser.add_argument("--output", type=Path, default=RESULTS / "wide.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    zoo = WideZoo.load(options.zoo)
    train, asked = zoo.indices("train"), zoo.indices(options.split, options.first_group)
    ruler = Ruler(Outside.load(options.zoo, options.split, options.first_group), asked)
    sketched = plain(zoo, train)
    encoders = []
    slow = () if options.quick else slow_ones(zoo, train, options.seeds)
    for name, space in chain(ridges(zoo, train, sketched), slow):
        encoders.append({"name": name, **ruler.describe(space)})
        print(name, encoders[-1]["mrr"]["by_adapter"], flush=True)
    results = {
        "split": options.split,
        "size": size_of(zoo, train),
        "encoders": encoders,
        "doubts": doubts(ruler, sketched),
        "growth": growth(zoo, ruler, train),
    }
    draw_growth(results["growth"])
    write_results(options.output, results, to_markdown(results))


if __name__ == "__main__":
    main()
