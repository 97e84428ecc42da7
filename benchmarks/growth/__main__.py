"""Measure how finding grows with the adapters seen, with the bytes of a sketch, and transfers.

Held-out adapters in their own gallery, English captions as queries, the shipped recipe.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from benchmarks.growth.transfer import FOLDER, VARIANTS, adapter_path, numbers_to_train
from benchmarks.results import DOCS, RESULTS, write_results
from benchmarks.retrieval.methods import sketch_space
from benchmarks.retrieval.zoo import BASE_MODEL, Space, Zoo, measure, summary
from benchmarks.tables import table, with_interval
from demo.paths import BUILD
from encoder.adapter.lora_file import LoraWeights, read
from encoder.sketches.basis import fit_basis
from encoder.sketches.sketch import Sketch, sketch
from encoder.training.train import sketch_files
from encoder.weight_encoders.autolora import family_of
from encoder.weight_encoders.checkpoint import load_encoder
from encoder.weight_encoders.metrics import positions

mpl.use("Agg")

COUNTS = (87, 174, 348, 696)
SEEDS = 3
IMAGES = DOCS / "images"
# Kilobytes of a sketch by random inputs and by learned ones; the tiny base's outputs end there.
RANDOM = ((1, 4), (2, 8), (4, 16), (16, 27), (2, 54), (4, 107), (8, 214), (32, 1000))
LEARNED = ((1, 4), (1, 13), (1, 27), (2, 54), (4, 107), (8, 214))


def subset(zoo: Zoo, count: int, seed: int) -> Zoo:
    """Keep `count` training adapters, drawn by the seed."""
    train = np.random.default_rng(seed).permutation(zoo.indices("train"))
    dropped = set(train[count:].tolist())
    splits = ["unused" if i in dropped else split for i, split in enumerate(zoo.splits)]
    return replace(zoo, splits=splits)


def growth(zoo: Zoo, sketches: list[Sketch]) -> list[dict[str, Any]]:
    """Return the MRR for every number of training adapters: of each draw."""
    rows = []
    own = len(replace(zoo, splits=zoo.splits[: zoo.listed]).indices("train"))
    for count in sorted({*COUNTS, len(zoo.indices("train"))}):
        found = []
        whole = count >= own
        for seed in range(1 if whole else SEEDS):
            part = zoo if count > own else subset_of_listed(zoo, min(count, own), seed)
            space, _ = sketch_space(part, sketches)
            found.append(measure(zoo, space, "held-out")["english, own"]["mrr"])
        rows.append({"count": count, "mrr": found})
    return rows


def subset_of_listed(zoo: Zoo, count: int, seed: int) -> Zoo:
    listed = [s if i < zoo.listed else "unused" for i, s in enumerate(zoo.splits)]
    return subset(replace(zoo, splits=listed), count, seed)


def sizes(zoo: Zoo, adapters: list[LoraWeights]) -> list[dict[str, Any]]:
    """Return the MRR by the bytes of a sketch, for random and for learned inputs."""
    family, rows = family_of(BASE_MODEL), []
    trained = [adapters[i] for i in zoo.indices("train")]
    bases = {count: fit_basis(family, trained, count) for count in {c for c, _ in LEARNED}}
    for kind, settings in (("random", RANDOM), ("learned", LEARNED)):
        for inputs, kilobytes in settings:
            how: dict[str, Any] = {"inputs": inputs} if kind == "random" else {}
            if kind == "learned":
                how = {"basis": bases[inputs]}
            made = [sketch(one, most_bytes=kilobytes * 1000, **how) for one in adapters]
            space, _ = sketch_space(zoo, made)
            figures = measure(zoo, space, "held-out")["english, own"]
            outputs = max(rows for rows, _ in made[0].layout.shapes)
            rows.append(
                {
                    "kind": kind,
                    "inputs": inputs,
                    "outputs": outputs,
                    "bytes": len(made[0].to_bytes()),
                    "mrr": figures["mrr"],
                    "recall_at_10": figures["recall_at_10"],
                }
            )
    return rows


def transfer(zoo: Zoo, sketches: list[Sketch], encoder: Path, folder: Path) -> list[dict[str, Any]]:
    """Return the MRR of adapters trained again, each in place of the original in the gallery."""
    entries = json.loads((BUILD / "zoo/listing.json").read_text())
    numbers, own = numbers_to_train(entries), zoo.indices("held-out")
    shipped = load_encoder(encoder)
    space = Space(shipped.encode(sketches[: zoo.listed]), shipped.encode_query)
    queries = space.project(np.concatenate([zoo.english[i] for i in numbers]))
    targets = np.repeat([own.index(i) for i in numbers], len(zoo.english[0]))
    rows = []
    for variant in ("the original", *VARIANTS):
        embeddings = space.embeddings.copy()
        if variant in VARIANTS:
            files = [adapter_path(folder, variant, number) for number in numbers]
            embeddings[numbers] = shipped.encode(sketch_files(files))
        place = positions(queries @ embeddings[own].T, targets).reshape(len(numbers), -1)
        rows.append({"variant": variant, "adapters": len(numbers), **summary(place)})
    return rows


def draw(results: dict[str, Any]) -> None:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4))
    counts = [row["count"] for row in results["growth"]]
    axes.plot(counts, [np.mean([m[0] for m in r["mrr"]]) for r in results["growth"]], "o-")
    axes.set(xscale="log", xlabel="adapters trained on", ylabel="MRR, 384 held-out adapters")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    figure.savefig(IMAGES / "retrieval-growth.png", dpi=110, bbox_inches="tight")
    figure, axes = plt.subplots(figsize=(6, 4))
    for kind in ("learned", "random"):
        rows = sorted(
            (row for row in results["sizes"] if row["kind"] == kind), key=lambda row: row["bytes"]
        )
        axes.plot(
            [row["bytes"] / 1e3 for row in rows],
            [row["mrr"][0] for row in rows],
            "o-",
            label=f"{kind} inputs",
        )
    axes.set(xscale="log", xlabel="KB of a sketch", ylabel="MRR, 384 held-out adapters")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(IMAGES / "retrieval-sketches.png", dpi=110, bbox_inches="tight")


def to_markdown(results: dict[str, Any]) -> str:
    again = results["transfer"]
    parts = [
        "![MRR by training adapters](../images/retrieval-growth.png)\n",
        table(["training adapters", "MRR", "draws"], map(growth_row, results["growth"])),
        "![MRR by the size of a sketch](../images/retrieval-sketches.png)\n",
        table(
            ["inputs", "outputs kept, at most", "sketch KB", "R@10", "MRR"],
            map(size_row, results["sizes"]),
        ),
        f"{again[0]['adapters']} held-out concepts of rank 4 trained again, each in place of the "
        "original:\n",
        table(["trained", "R@1", "R@10", "MRR"], map(transfer_row, again)),
    ]
    return "\n".join(parts)


def growth_row(row: dict[str, Any]) -> list[str]:
    each = [value[0] for value in row["mrr"]]
    return [str(row["count"]), f"{np.mean(each):.3f}", ", ".join(f"{mrr:.3f}" for mrr in each)]


def size_row(row: dict[str, Any]) -> list[str]:
    return [
        f"{row['inputs']} {row['kind']}",
        str(row["outputs"]),
        f"{row['bytes'] / 1e3:.1f}",
        f"{100 * row['recall_at_10'][0]:.1f}",
        with_interval(row["mrr"]),
    ]


def transfer_row(row: dict[str, Any]) -> list[str]:
    recalls = [f"{100 * row[key][0]:.1f}" for key in ("recall_at_1", "recall_at_10")]
    return [row["variant"], *recalls, with_interval(row["mrr"])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=BUILD / "zoo")
    parser.add_argument("--more", type=Path, default=BUILD / "more/manifest.json")
    parser.add_argument("--transfer", type=Path, default=FOLDER)
    parser.add_argument("--encoder", type=Path, default=BUILD / "encoder.safetensors")
    parser.add_argument("--output", type=Path, default=RESULTS / "growth.json")
    options = parser.parse_args()
    # The rest takes minutes: what is missing is told before it.
    numbers = numbers_to_train(json.loads((options.zoo / "listing.json").read_text()))
    files = [adapter_path(options.transfer, name, k) for name in VARIANTS for k in numbers]
    if not all(file.is_file() for file in files):
        parser.error(
            f"{options.transfer} lacks adapters: run `python -m benchmarks.growth.transfer` first"
        )
    zoo = Zoo.load(options.zoo, options.more)
    sketches = sketch_files(zoo.paths)
    listed = Zoo.load(options.zoo)
    adapters = [read(path) for path in listed.paths]
    results = {
        "growth": growth(zoo, sketches),
        "sizes": sizes(listed, adapters),
        "transfer": transfer(listed, sketches, options.encoder, options.transfer),
    }
    draw(results)
    write_results(options.output, results, to_markdown(results))


if __name__ == "__main__":
    main()
