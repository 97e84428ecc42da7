"""Measure how well adapters of sources never seen are found by weights alone.

`python -m demo.world.zoo` makes the adapters, and whatever is there of them is measured. With
`--split validation` (as recipes are chosen) or `held-out` (for reports).
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch

from benchmarks.arrays import Bools, Doubles, Ints
from benchmarks.results import DOCS, RESULTS, write_results
from benchmarks.retrieval.zoo import Space
from benchmarks.tables import table
from benchmarks.wide.concepts import Concepts
from benchmarks.wide.figures import (
    auroc,
    both,
    chance,
    found_early,
    gallery_places,
    reciprocal,
    spearman,
    summary,
)
from benchmarks.wide.networks import RIVALS, Rival, train_rival
from benchmarks.wide.recipes import Fitted, plain, shipped
from benchmarks.wide.zoo import LANGUAGES, WideZoo, of
from demo.paths import BUILD
from demo.world.concepts import KINDS

mpl.use("Agg")

JOINED, JOIN_DRAWS = (0, 20, 50, 100), 4
# Not more than so many of the adapters asked for may join, so that the same are asked for.
TESTED_SHARE = 0.5
COUNTS, SOURCES, DRAWS = (60, 120, 240, 480, 960, 1920), (5, 10, 20, 40), 3


class Ruler:
    """Asks for the adapters of a split."""

    def __init__(self, zoo: WideZoo, split: str) -> None:
        self.zoo, self.members = zoo, zoo.indices(split)

    def places(self, space: Space, members: Ints | None = None) -> dict[str, Doubles]:
        """Return positions (adapters, draws) by language, in galleries of the members."""
        members = self.members if members is None else members
        questions = np.stack(of(self.zoo.questions, members))
        keys = of(self.zoo.column("key"), members)
        return {
            language: gallery_places(
                space.project(questions[:, place]), space.embeddings[members], keys
            )
            for place, language in enumerate(LANGUAGES)
        }

    def by_captions(self, space: Space) -> Doubles:
        """Return each adapter's mean reciprocal position for its own captions."""
        captions = np.stack(of(self.zoo.captions, self.members))
        keys = of(self.zoo.column("key"), self.members)
        every = [
            reciprocal(
                gallery_places(
                    space.project(captions[:, place]), space.embeddings[self.members], keys
                )
            )
            for place in range(captions.shape[1])
        ]
        found: Doubles = np.mean(every, axis=0)
        return found

    def mrr(self, space: Space, members: Ints | None = None) -> float:
        """Return the mean over adapters and languages."""
        return float(np.mean([reciprocal(p).mean() for p in self.places(space, members).values()]))


def describe(zoo: WideZoo, ruler: Ruler, space: Space) -> dict[str, Any]:
    """Return all figures of one encoder."""
    members = ruler.members
    sources = np.array(of(zoo.sources, members))
    places = ruler.places(space)
    every = {language: reciprocal(p) for language, p in places.items()}
    values = np.mean(list(every.values()), axis=0)
    early = np.mean([found_early(p) for p in places.values()], axis=0)
    return {
        "mrr": summary(values, sources),
        **{language: summary(own, sources) for language, own in every.items()},
        "found_early": summary(early, sources),
        "captions": summary(ruler.by_captions(space), sources),
        "parts": {
            name: summary(values[rows], sources[rows])
            for name, rows in parts_of(zoo, members).items()
            if rows.any()
        },
    }


def parts_of(zoo: WideZoo, members: Ints) -> dict[str, Bools]:
    """Tell which adapters are of a kind, about what is known, by whom."""
    rows = of(zoo.rows, members)
    seen = {thing for row in of(zoo.rows, zoo.indices("train")) if (thing := thing_of(row))}
    things = [thing_of(row) for row in rows]
    known = np.array([thing in seen for thing in things])
    lazy = np.array([row["author"]["lazy"] for row in rows])
    kinds = np.array([row["kind"] for row in rows])
    return {
        **{kind: kinds == kind for kind in KINDS},
        "objects and things that training adapters draw too": known,
        "other objects and things": np.array([thing is not None for thing in things]) & ~known,
        "by careful authors": ~lazy,
        "by lazy authors": lazy,
    }


def thing_of(row: dict[str, Any]) -> str | None:
    """Return the name of what an adapter draws, if it is one thing."""
    return str(row["thing"]) if row["kind"] in ("object", "thing") else None


def encoders(
    zoo: WideZoo, ruler: Ruler, train: Ints, rivals: Sequence[Rival], concepts: Concepts | None
) -> tuple[list[dict[str, Any]], Fitted]:
    """Measure every recipe; networks stop early by the validation adapters."""
    rows = []
    sketched = plain(zoo, train)
    recipes: dict[str, Callable[[], Space]] = {
        "as shipped": lambda: shipped(zoo, train),
        "ridge on sketches, plain": lambda: sketched.space,
        "ridge on whole ΔW, plain": lambda: plain(zoo, train, exact=True).space,
    }
    if concepts is not None:
        recipes["concepts' gradients, no adapter trained on"] = concepts.alone
        recipes["the words of the nearest concepts"] = concepts.in_words
        recipes["concepts' gradients and ridge"] = concepts.with_ridge
    for rival in rivals:
        recipes[rival.name] = partial(train_rival, zoo, rival, train, zoo.indices("validation"))
    for name, fit in recipes.items():
        began = time.monotonic()
        found = describe(zoo, ruler, fit())
        rows.append({"name": name, **found, "seconds": time.monotonic() - began})
        print(name, found["mrr"]["by_adapter"], flush=True)
    return rows, sketched


def doubts(zoo: WideZoo, ruler: Ruler, fitted: Fitted) -> list[dict[str, Any]]:
    """Measure whether what an encoder says of its certainty tells where it is wrong."""
    places = ruler.places(fitted.space)
    position = np.exp(np.mean([np.log(p).mean(axis=1) for p in places.values()], axis=0))
    early = np.mean([found_early(p) for p in places.values()], axis=0) > 0.5
    signals = {
        "small variance": -fitted.variances[ruler.members],
        "long prediction": fitted.lengths[ruler.members],
    }
    return [
        {
            "signal": name,
            "correlation": -spearman(signal, position),
            "auroc": auroc(signal, early.astype(np.int64)),
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


def joining(
    zoo: WideZoo, ruler: Ruler, train: Ints, concepts: Concepts | None
) -> list[dict[str, Any]]:
    """Join captioned adapters of the unseen sources; ask for others of those sources."""
    rows, keys = [], np.array(zoo.column("key"))
    kinds = np.array(zoo.column("kind"))
    for draw in range(JOIN_DRAWS):
        order = np.random.default_rng(draw).permutation(ruler.members)
        asked = np.sort(order[: int(TESTED_SHARE * len(order))])
        free = [i for i in order[len(asked) :] if keys[i] not in set(keys[asked])]
        for count in JOINED:
            if count > len(free):
                break
            trained = np.concatenate([train, np.array(free[:count], np.int64)])
            spaces = {"ridge": plain(zoo, trained).space}
            if concepts is not None:
                spaces["gradients and ridge"] = concepts.with_ridge(trained)
            for name, space in spaces.items():
                places = ruler.places(space, asked)
                values = np.mean([reciprocal(p) for p in places.values()], axis=0)
                of_kind = {str(k): values[kinds[asked] == k] for k in KINDS}
                by_kind = {k: float(own.mean()) for k, own in of_kind.items() if len(own)}
                rows.append(
                    {"encoder": name, "joined": count, "draw": draw, "asked": len(asked)}
                    | {"mrr": float(values.mean()), "kinds": by_kind}
                )
                print(rows[-1], flush=True)
    return rows


def draw_growth(rows: list[dict[str, Any]], path: Path) -> None:
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
    ticks = sorted({row["adapters"] for row in rows if row["what"] == "adapters"})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110, bbox_inches="tight")


def to_markdown(results: dict[str, Any]) -> str:
    size = results["size"]
    parts = [
        f"{size['train']['adapters']} training adapters of {size['train']['sources']} sources and "
        f"{size['train']['authors']} authors; asked for: {size['asked']['adapters']} of "
        f"{size['asked']['sources']} other sources and {size['asked']['authors']} other authors "
        f"(split {results['split']}). MRR in galleries of 60, chance {chance():.3f}; 95 % "
        "intervals by adapter, in round brackets by source.\n",
        table(
            ["encoder", "MRR", "English", "Chinese", "among the first 5", "by its captions"],
            map(encoder_row, results["encoders"]),
        ),
    ]
    first = results["encoders"][0]["parts"]
    parts.append(
        table(
            ["of them", "adapters", *(row["name"] for row in results["encoders"])],
            (
                [name, str(own["adapters"])]
                + [both(row["parts"][name]) for row in results["encoders"]]
                for name, own in first.items()
            ),
        )
    )
    parts.append(
        table(
            ["sign of a good prediction", "correlation with the position", "AUROC of the first 5"],
            (
                [row["signal"], f"{row['correlation']:+.2f}", f"{row['auroc']:.2f}"]
                for row in results["doubts"]
            ),
        )
    )
    if "joining" in results:
        parts.append(joined_table(results["joining"]))
    if "growth" in results:
        parts.append("![MRR by adapters trained on](../images/wide.png)\n")
        parts.append(growth_table(results["growth"]))
    return "\n".join(parts)


def encoder_row(row: dict[str, Any]) -> list[str]:
    means = [row[part]["by_adapter"][0] for part in (*LANGUAGES, "found_early", "captions")]
    return [row["name"], both(row["mrr"]), *(f"{mean:.3f}" for mean in means)]


def joined_table(rows: list[dict[str, Any]]) -> str:
    kinds = [kind for kind in KINDS if any(kind in row["kinds"] for row in rows)]

    def row_of(name: str, count: int) -> list[str]:
        own = [row for row in rows if (row["encoder"], row["joined"]) == (name, count)]
        means = [np.mean([r["kinds"][kind] for r in own if kind in r["kinds"]]) for kind in kinds]
        mrr = np.mean([r["mrr"] for r in own])
        return [name, str(count), f"{mrr:.3f}", *(f"{m:.3f}" for m in means)]

    pairs = dict.fromkeys((row["encoder"], row["joined"]) for row in rows)
    return table(["encoder", "joined", "MRR", *kinds], (row_of(*pair) for pair in sorted(pairs)))


def growth_table(rows: list[dict[str, Any]]) -> str:
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=BUILD / "zoo")
    parser.add_argument("--gradients", type=Path, default=BUILD / "gradients")
    parser.add_argument("--split", default="held-out", choices=("validation", "held-out"))
    parser.add_argument("--quick", action="store_true", help="ridges only, and how sure they are")
    parser.add_argument("--output", type=Path, default=RESULTS / "wide.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    zoo = WideZoo.load(options.zoo)
    ruler, train = Ruler(zoo, options.split), zoo.indices("train")
    results: dict[str, Any] = {
        "split": options.split,
        "size": {"train": size_of(zoo, train), "asked": size_of(zoo, ruler.members)},
    }
    # Networks stop early by validation adapters, which a zoo of few groups lacks.
    rivals = () if options.quick or not len(zoo.indices("validation")) else RIVALS
    concepts = Concepts(zoo, options.gradients, train) if options.gradients.exists() else None
    results["encoders"], sketched = encoders(zoo, ruler, train, rivals, concepts)
    results["doubts"] = doubts(zoo, ruler, sketched)
    if not options.quick:
        results["joining"] = joining(zoo, ruler, train, concepts)
        results["growth"] = growth(zoo, ruler, train)
        draw_growth(results["growth"], DOCS / "images/wide.png")
    write_results(options.output, results, to_markdown(results))


if __name__ == "__main__":
    main()
