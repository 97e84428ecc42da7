"""What was measured -> a table and a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.tables import table

Results = Sequence[dict[str, Any]]
MEGABYTE = 2**20


def to_markdown(results: Results) -> str:
    asked = results[0]["questions"]
    text = (
        f"{asked} questions at a time, in milliseconds. `worked` is what processors did for a "
        "search, of which `outside` outside of PostgreSQL; the rest of `p50` and `p99` was "
        "waiting, for a processor that others used. `scans` is both vector indexes asked for ten "
        "rows and nothing else, in the same run. `browse` is a page of ten by downloads, `facets` "
        "all facets, both `worked`. Recall@10 is of weights and of captions.\n\n"
    )
    rows = [
        [
            f"{result['adapters']:,}",
            row["share"],
            f"{row['p50']:.0f}",
            f"{row['p99']:.0f}",
            f"{row['worked_p50']:.1f}",
            f"{row['worked_p99']:.1f}",
            f"{row['here_p50']:.1f}",
            f"{result['bare']['worked_p50']:.1f}",
            f"{row['browse']['worked_p50']:.1f}",
            f"{row['facets']['worked_p50']:.1f}",
            "{weights:.3f}, {captions:.3f}".format(**row["recall"]),
        ]
        for result in results
        for row in result["filters"]
    ]
    head = ["adapters", "filter leaves", "p50", "p99", "worked p50", "worked p99", "outside"]
    text += table([*head, "scans worked", "browse", "facets", "recall@10"], rows)
    return text + "\n" + _index_table(results)


def _index_table(results: Results) -> str:
    rows = []
    for result in results:
        built, sizes, published = result["filled"], result["bytes"], result["publishing"]
        vectors, words = (
            [name for name in sizes if name.startswith("ix_") and what(name)]
            for what in (
                lambda name: name.endswith("hnsw"),
                lambda name: "words" in name or "vocabulary" in name,
            )
        )
        rows.append(
            [
                f"{result['adapters']:,}",
                f"{built['rows']:.0f}",
                *(
                    f"{sum(built.get(name, 0) for name in names):.0f} s, "
                    f"{sum(sizes[name] for name in names) / MEGABYTE:.0f} MB"
                    for names in (vectors, words)
                ),
                f"{sum(sizes.values()) / MEGABYTE:.0f}",
                f"{published['changed']:,} in {published['seconds']:.0f} s" if published else "",
                f"{published['meanwhile_p99']:.0f} ({published['before_p99']:.0f} before)"
                if published
                else "",
                f"{result['memory_grew'] / MEGABYTE:.0f}",
            ]
        )
    return table(
        [
            "adapters",
            "rows: s",
            "vector indexes",
            "word indexes",
            "all: MB",
            "published",
            "p99 meanwhile",
            "process grew: MB",
        ],
        rows,
    )


def draw(results: Results, path: Path) -> None:
    """Draw p50 and p99 against the number of adapters, a line for each filter."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(9, 4), sharey=True)
    counts = [result["adapters"] for result in results]
    for axes, figure_name in zip(panels, ("p50", "p99"), strict=True):
        for place, first in enumerate(results[0]["filters"]):
            times = [result["filters"][place][f"worked_{figure_name}"] for result in results]
            axes.plot(counts, times, "o-", label=first["share"])
        bare = [result["bare"][f"worked_{figure_name}"] for result in results]
        axes.plot(counts, bare, "k--", label="bare scans")
        axes.set(xscale="log", yscale="log", xlabel="adapters", title=f"{figure_name} of a search")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("ms of a processor")
    panels[1].legend(title="filter leaves", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)
