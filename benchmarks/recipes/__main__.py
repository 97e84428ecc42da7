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
from rich.console import Console

from benchmarks.intervals import mean_interval
from benchmarks.recipes.pool import Pool
from benchmarks.recipes.solved import SOLVED, Recipe
from benchmarks.recipes.trained import TRAINED
from benchmarks.results import RESULTS, write_results
from benchmarks.retrieval.zoo import Space
from benchmarks.tables import signed, table, with_interval
from crawler.whole_file import written_whole
from demo.paths import BUILD
from encoder.arrays import Doubles, Ints
from encoder.weight_encoders.metrics import positions

FOLDS, SEEDS = 5, 3
SHIPPED = "as shipped"


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
        yield from trained_recipes(family, only, seeds)
    for family in TRAINED.keys() - SOLVED.keys():
        yield from trained_recipes(family, only, seeds)


def trained_recipes(family: str, only: str, seeds: int) -> Iterator[tuple[str, str, list[Recipe]]]:
    for name, training in TRAINED.get(family, {}).items():
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
        "cross-validated": {key: mean_interval(values) for key, values in own.items()},
        "validation": {
            key: mean_interval(values)
            for key, values in by_language(np.mean(judged, axis=0)).items()
        },
        "found": found.tolist(),
    }
    if shipped is not None:
        gains = by_language(found - shipped)
        row["gain"] = {key: mean_interval(values) for key, values in gains.items()}
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
            with written_whole(kept) as partial:
                partial.write_text(json.dumps(row))
        rows.append(json.loads(kept.read_text()))
        found = np.array(rows[-1].pop("found"))
        shipped = found if shipped is None else shipped
        Console(stderr=True, soft_wrap=True).print(" | ".join(cells_of(rows[-1])))
    return rows


def digest_of(pool: Pool) -> str:
    """Return what tells the pool's adapters from others."""
    digest = sha256()
    for own in pool.sketches:
        digest.update(own.to_bytes())
    return digest.hexdigest()[:16]


def cells_of(row: dict[str, Any]) -> list[str]:
    crossed, gain = row["cross-validated"], row.get("gain")
    seeds = f" ({len(row['seeds'])} seeds)" if len(row["seeds"]) > 1 else ""
    return [
        row["family"],
        row["recipe"] + seeds,
        with_interval(crossed["both"]),
        signed(gain["both"]) if gain else "",
        *(f"{gain[key][0]:+.3f}" if gain else "" for key in ("english", "chinese")),
        *(f"{row['validation'][key][0]:.3f}" for key in ("english", "chinese")),
        f"{row['seconds']:.1f}",
    ]


def to_markdown(results: dict[str, Any]) -> str:
    text = (
        f"Weights alone. {results['train']} training adapters in {FOLDS} folds: each fold's "
        f"captions, in both languages, among that fold's own adapters (about "
        f"{results['train'] // FOLDS}). 'Gain' over the first row is paired by adapter; 95 % "
        f"intervals by bootstrap over adapters. Validation: {results['validation']} adapters. "
        "Seconds are those of one fit, of what is not shared between recipes.\n\n"
    )
    head = [
        "family", "recipe", "cross-validated MRR", "gain", "en", "zh", "validation en", "zh", "s",
    ]  # fmt: skip
    return text + table(head, map(cells_of, results["rows"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=BUILD / "zoo")
    parser.add_argument("--more", type=Path, help="manifest of further adapters to train on")
    parser.add_argument("--base", type=Path, default=BUILD / "base")
    parser.add_argument("--only", default="", help="recipes whose name has this in it")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of what is trained by steps")
    parser.add_argument("--output", type=Path, default=RESULTS / "recipes.json")
    options = parser.parse_args()
    pool = Pool.load(options.zoo, options.more, options.base)
    results = {
        "train": len(pool.train),
        "validation": len(pool.zoo.indices("validation")),
        "rows": run(pool, options.only, options.seeds, options.output.with_suffix("")),
    }
    write_results(options.output, results, to_markdown(results))


if __name__ == "__main__":
    main()
