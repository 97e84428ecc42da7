"""Ways to find adapters by their weights, each measured on the same zoo."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from benchmarks.retrieval.kernels import base_activations, probe_kernel, weight_kernel
from benchmarks.retrieval.networks import NETWORKS
from benchmarks.retrieval.zoo import BASE_MODEL, SMALL_GALLERY, Space, Zoo, measure
from benchmarks.tables import table, with_interval
from encoder.adapter.lora_file import read
from encoder.arrays import Floats
from encoder.sketches.sketch import Sketch, sketch
from encoder.text_encoder import normalise
from encoder.training.train import SketchedAdapters, fit_ridge_to_sketches
from encoder.weight_encoders.autolora import family_of
from encoder.weight_encoders.checkpoint import load_encoder
from encoder.weight_encoders.layer_batch import LayerBatch, stack_weights
from encoder.weight_encoders.metrics import RetrievalMetrics
from encoder.weight_encoders.ridge import KernelRidge, choose_penalty, targets_of
from encoder.weight_encoders.text_space import TextSpace

RECALLS = ("recall_at_1", "recall_at_5", "recall_at_10")


def kernel_space(zoo: Zoo, kernel: Floats) -> Space:
    """Ridge on a kernel between all adapters, to centred English captions: the plain recipe.

    The penalty is cross-validated in training.
    """
    train = zoo.indices("train")
    captions = [zoo.english[i] for i in train]
    space = replace(TextSpace.fit(captions), whiten=None)
    own = kernel[np.ix_(train, train)]
    penalty, _ = choose_penalty(own, captions)
    ridge = KernelRidge(own, targets_of(captions, space))
    return Space(normalise(ridge.predict(kernel[:, train], penalty)), space.project)


def sketch_space(zoo: Zoo, sketches: Sequence[Sketch]) -> tuple[Space, dict[str, Any]]:
    encoder = fit_ridge_to_sketches(
        SketchedAdapters(sketches, zoo.both, zoo.splits),
        name="benchmark",
        base_model=BASE_MODEL,
        text_encoder=zoo.text_encoder.name,
    )
    stored = sum(array.nbytes for array in encoder.arrays().values())
    facts = {"sketch_bytes": len(sketches[0].to_bytes()), "encoder_bytes": stored}
    return Space(encoder.encode(sketches), encoder.encode_query), facts


def run(
    zoo: Zoo, base: Path, encoder: Path, split: str, folder: Path, seeds: int
) -> list[dict[str, Any]]:
    """Measure every method; a row each."""
    rows: list[dict[str, Any]] = []

    def add(name: str, started: float, space: Space, **facts: Any) -> None:
        seconds = round(time.monotonic() - started, 1)
        rows.append({"method": name, "seconds": seconds, **facts} | measure(zoo, space, split))
        Console(stderr=True).print(f"{name}: {rows[-1]['english, own']['mrr'][0]:.3f}, {seconds} s")

    family = family_of(BASE_MODEL)
    adapters = [read(path) for path in track(zoo.paths, "Reading", console=Console(stderr=True))]
    batch: LayerBatch = stack_weights(family, adapters)
    started = time.monotonic()
    add("exact ΔW Gram + ridge", started, kernel_space(zoo, weight_kernel(family, batch)))
    started = time.monotonic()
    probes = base_activations(base, family)
    kernel = probe_kernel(family, batch, probes)
    add("base-activation probes + LayerNorm + ridge", started, kernel_space(zoo, kernel))
    started = time.monotonic()
    sketches = [sketch(adapter) for adapter in adapters]
    space, facts = sketch_space(zoo, sketches)
    add("ours, trained on the same adapters", started, space, **facts)
    started = time.monotonic()
    space, facts = sketch_space(replace(zoo, chinese=zoo.english), sketches)
    add("ours, trained on English captions only", started, space, **facts)
    shipped = load_encoder(encoder)
    started = time.monotonic()
    own = Space(shipped.encode(sketches), shipped.encode_query)
    facts["encoder_bytes"] = encoder.stat().st_size
    count = shipped.metrics["adapters"]["train"]
    add(f"ours as shipped, trained on {count}", started, own, **facts)
    for name, train in NETWORKS.items():
        for seed in range(seeds):
            started = time.monotonic()
            add(f"{name}, seed {seed}", started, train(zoo, adapters, folder, seed))
    return rows


def to_markdown(results: dict[str, Any]) -> str:
    """Write the table of a results file: figures, MRR with its 95 % interval in brackets."""
    own, everything = results["galleries"]["own"], results["galleries"]["everything"]
    text = (
        f"Weights alone, on the {own} {results['split']} adapters: their English captions as "
        f"queries, none of them seen in training on {results['trained_on']} others. R@k and nDCG "
        "in %; MRR with its 95 % interval, by bootstrap over adapters. "
        f"'MRR of {SMALL_GALLERY}' is the mean over random galleries of that many, 'zh' asks in "
        f"Chinese, 'all' ranks among all {everything} adapters, those trained on included.\n\n"
    )
    head = [
        "method", "R@1", "R@5", "R@10", "nDCG@10", "MRR", f"MRR of {SMALL_GALLERY}", "MRR zh",
        "R@1 all", "R@10 all", "MRR all", "sketch KB", "encoder MB", "s",
    ]  # fmt: skip
    return text + table(head, [chance_row(own, everything), *map(method_row, results["rows"])])


def method_row(row: dict[str, Any]) -> list[str]:
    english, chinese = row["english, own"], row["chinese, own"]
    everywhere = row["english, everything"]
    percent = [english[key][0] for key in (*RECALLS, "ndcg_at_10")]
    return [
        row["method"],
        *(f"{100 * value:.1f}" for value in percent),
        with_interval(english["mrr"]),
        f"{english[f'mrr_of_{SMALL_GALLERY}']:.3f}",
        f"{chinese['mrr'][0]:.3f}",
        f"{100 * everywhere['recall_at_1'][0]:.1f}",
        f"{100 * everywhere['recall_at_10'][0]:.1f}",
        f"{everywhere['mrr'][0]:.3f}",
        f"{row['sketch_bytes'] / 1e3:.1f}" if "sketch_bytes" in row else "",
        f"{row['encoder_bytes'] / 1e6:.1f}" if "encoder_bytes" in row else "",
        f"{row['seconds']:.0f}",
    ]


def chance_row(own: int, everything: int) -> list[str]:
    """Expected figures of a random order."""
    figures = [RetrievalMetrics.of(np.arange(1.0, n + 1)) for n in (own, SMALL_GALLERY, everything)]
    first, small, large = figures
    percent = [100 * getattr(first, key) for key in (*RECALLS, "ndcg_at_10")]
    return [
        "chance",
        *(f"{value:.1f}" for value in percent),
        *(f"{value:.3f}" for value in (first.mrr, small.mrr, first.mrr)),
        *(f"{100 * value:.1f}" for value in (large.recall_at_1, large.recall_at_10)),
        f"{large.mrr:.3f}",
        *("", "", ""),
    ]
