"""Compare recipes for the encoder, the losers too, without a look at held-out adapters.

The criterion is cross-validation over the training adapters: each fifth is a gallery of its
own, embedded by what was fitted to the others. Validation adapters are a second opinion.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from benchmarks.recipe_list import SOLVED, Recipe
from benchmarks.recipe_networks import TRAINED
from benchmarks.recipe_pool import Ints, Pool
from benchmarks.retrieval_zoo import RESAMPLES, Space
from demo.paths import BUILD
from encoder.weight_encoders.metrics import positions

FOLDS, SEEDS = 5, 3
SHIPPED = "as shipped"
Doubles = npt.NDArray[np.float64]


def folds(train: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Yield (those to fit, those to find)."""
    fold_of = np.random.default_rng(0).permutation(len(train)) % FOLDS
    for fold in range(FOLDS):
        yield train[fold_of != fold], train[fold_of == fold]


def reciprocals(pool: Pool, space: Space, gallery: Ints) -> Doubles:
    """Return 1 / position of each caption's adapter among the gallery, (adapters, captions)."""
    queries = space.project(np.concatenate([pool.captions[i] for i in gallery]))
    each = len(pool.captions[gallery[0]])
    targets = np.arange(len(gallery)).repeat(each)
    found = positions(queries @ space.embeddings[gallery].T, targets)
    return (1 / found).reshape(len(gallery), each)


def cross_validate(pool: Pool, recipe: Recipe) -> Doubles:
    """Return the reciprocal positions of every training adapter, in its fold."""
    found = np.zeros((len(pool.captions), len(pool.captions[0])))
    for fitted, left_out in folds(pool.train):
        found[left_out] = reciprocals(pool, recipe(pool, fitted), left_out)
    return found[pool.train]


def interval(values: Doubles) -> list[float]:
    """Return the mean over adapters and its 95 % interval by bootstrap."""
    rows = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    return [float(values.mean()), *np.quantile(values[rows].mean(axis=1), [0.025, 0.975]).tolist()]


def by_language(found: Doubles) -> dict[str, Doubles]:
    """Return each adapter's mean over its captions: of all, in English, in Chinese."""
    half = found.shape[1] // 2
    return {
        "both": found.mean(axis=1),
        "english": found[:, :half].mean(axis=1),
        "chinese": found[:, half:].mean(axis=1),
    }


def all_recipes(only: str, seeds: int) -> Iterator[tuple[str, str, list[Recipe]]]:
    """Yield (family, name, the recipe of each seed)."""
    for family, solved in SOLVED.items():
        for name, recipe in solved.items():
            if only in name or name == SHIPPED:
                yield family, name, [recipe]
        for name, training in TRAINED.get(family, {}).items():
            if only in name:
                yield family, name, [partial(training, seed=seed) for seed in range(seeds)]
    for family in TRAINED.keys() - SOLVED.keys():
        for name, training in TRAINED[family].items():
            if only in name:
                yield family, name, [partial(training, seed=seed) for seed in range(seeds)]


def judge(pool: Pool, recipes: Sequence[Recipe], shipped: Doubles | None) -> dict[str, Any]:
    """Return a row's figures, and every adapter's; the mean over the recipe's seeds."""
    started = time.monotonic()
    crossed = [cross_validate(pool, recipe) for recipe in recipes]
    seconds = (time.monotonic() - started) / len(recipes) / FOLDS
    validation = np.array(pool.zoo.indices("validation"))
    judged = [reciprocals(pool, recipe(pool, pool.train), validation) for recipe in recipes]
    found = np.mean(crossed, axis=0)
    own = by_language(found)
    row: dict[str, Any] = {
        "seconds": seconds,
        "seeds": [float(one.mean()) for one in crossed],
        "cross-validated": {key: interval(values) for key, values in own.items()},
        "validation": {
            key: interval(values) for key, values in by_language(np.mean(judged, axis=0)).items()
        },
        "found": found.tolist(),
    }
    if shipped is not None:
        gains = by_language(found - shipped)
        row["gain"] = {key: interval(values) for key, values in gains.items()}
    return row


def run(pool: Pool, only: str, seeds: int, folder: Path) -> list[dict[str, Any]]:
    """Judge every recipe; rows are kept in `folder`, so a stopped run goes on.

    They are kept by adapters and names: remove the folder when a recipe's code has changed.
    """
    folder = folder / digest_of(pool)
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    shipped: Doubles | None = None
    for family, name, recipes in all_recipes(only, seeds):
        key = sha256(f"{family}/{name}/{len(recipes)}".encode()).hexdigest()[:16]
        kept = folder / f"{key}.json"
        if not kept.exists():
            row = {"family": family, "recipe": name, **judge(pool, recipes, shipped)}
            unfinished = kept.with_suffix(".partial")
            unfinished.write_text(json.dumps(row))
            unfinished.replace(kept)
        rows.append(json.loads(kept.read_text()))
        found = np.array(rows[-1].pop("found"))
        shipped = found if shipped is None else shipped
        Console(stderr=True, soft_wrap=True).print(to_line(rows[-1]))
    return rows


def digest_of(pool: Pool) -> str:
    """Return what tells the pool's adapters from others."""
    digest = sha256()
    for own in pool.sketches:
        digest.update(own.to_bytes())
    return digest.hexdigest()[:16]


def to_line(row: dict[str, Any]) -> str:
    crossed, gain = row["cross-validated"], row.get("gain")
    seeds = f" ({len(row['seeds'])} seeds)" if len(row["seeds"]) > 1 else ""
    cells = [
        row["family"],
        row["recipe"] + seeds,
        "{:.3f} [{:.3f}, {:.3f}]".format(*crossed["both"]),
        "{:+.3f} [{:+.3f}, {:+.3f}]".format(*gain["both"]) if gain else "",
        *(f"{gain[key][0]:+.3f}" if gain else "" for key in ("english", "chinese")),
        *(f"{row['validation'][key][0]:.3f}" for key in ("english", "chinese")),
        f"{row['seconds']:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def to_markdown(results: dict[str, Any]) -> str:
    lines = [
        f"Weights alone. {results['train']} training adapters in {FOLDS} folds: each fold's "
        f"captions, in both languages, among that fold's own adapters (about "
        f"{results['train'] // FOLDS}). 'Gain' over the first row is paired by adapter; 95 % "
        f"intervals by bootstrap over adapters. Validation: {results['validation']} adapters. "
        "Seconds are those of one fit, of what is not shared between recipes.",
        "",
        "| family | recipe | cross-validated MRR | gain | en | zh | validation en | zh | s |",
        "|---|" + "---|" * 8,
        *(to_line(row) for row in results["rows"]),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=BUILD / "zoo")
    parser.add_argument("--more", type=Path, help="manifest of further adapters to train on")
    parser.add_argument("--base", type=Path, default=BUILD / "base")
    parser.add_argument("--only", default="", help="recipes whose name has this in it")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of what is trained by steps")
    parser.add_argument("--output", type=Path, default=BUILD / "benchmarks/recipes.json")
    options = parser.parse_args()
    pool = Pool.load(options.zoo, options.more, options.base)
    results = {
        "train": len(pool.train),
        "validation": len(pool.zoo.indices("validation")),
        "rows": run(pool, options.only, options.seeds, options.output.with_suffix("")),
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n")
    table = to_markdown(results)
    options.output.with_suffix(".md").write_text(table)
    print(table)


if __name__ == "__main__":
    main()
