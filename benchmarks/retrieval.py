"""Measure retrieval by weights alone: adapters never seen, found by sentences never seen.

Everything is fitted on the zoo's training split and tuned within it or on validation;
the split named (held-out) is only looked at to fill the table.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track

from benchmarks.kernels import base_activations, probe_kernel, weight_kernel
from demo.paths import BUILD
from encoder.basis import DIRECTIONS as SHIPPED_DIRECTIONS
from encoder.basis import fit_basis
from encoder.contrastive import Schedule
from encoder.dataset import Dataset
from encoder.layer_batch import LayerBatch, stack_weights
from encoder.lora_file import LoraWeights, read
from encoder.metrics import RetrievalMetrics, positions
from encoder.ridge import KernelRidge, TextSpace, choose_penalty, targets_of
from encoder.sketch import Sketch, sketch
from encoder.text_encoder import TextEncoder, load_text_encoder, normalise
from encoder.train import (
    DEFAULT_COMPONENTS,
    encode_captions,
    fit_ridge_to_sketches,
    train_autolora,
)
from encoder.weight_encoder import AutoLoraConfig, family_of

Floats = npt.NDArray[np.float32]

BASE_MODEL = "demo-flux-tiny"
RESAMPLES = 2000
# Figures of small zoos compare only in galleries of equal size.
SMALL_GALLERY, SMALL_DRAWS = 60, 300
RECALLS = ("recall_at_1", "recall_at_5", "recall_at_10")
RANDOM_SIZES, DIRECTIONS = (8, 16, 32, 64), (1, 2, 4, 8)


@dataclass(frozen=True)
class Zoo:
    """Adapters with captions in two languages, embedded; lists run in parallel."""

    paths: list[Path]
    kinds: list[str]
    splits: list[str]
    captions: list[list[str]]  # English, then Chinese
    english: list[Floats]
    chinese: list[Floats]
    text_encoder: TextEncoder

    @classmethod
    def load(cls, folder: Path) -> "Zoo":
        entries = json.loads((folder / "listing.json").read_text())
        text_encoder = load_text_encoder()
        english = [entry["_captions"] for entry in entries]
        chinese = [entry["_captions_zh"] for entry in entries]
        return cls(
            paths=[folder / entry["file"] for entry in entries],
            kinds=[entry["_kind"] for entry in entries],
            splits=[entry["_split"] for entry in entries],
            captions=[[*own, *zh] for own, zh in zip(english, chinese, strict=True)],
            english=encode_captions(english, text_encoder),
            chinese=encode_captions(chinese, text_encoder),
            text_encoder=text_encoder,
        )

    @property
    def both(self) -> list[Floats]:
        """Every adapter's captions in both languages."""
        return [np.concatenate(pair) for pair in zip(self.english, self.chinese, strict=True)]

    def indices(self, split: str) -> list[int]:
        return [index for index, own in enumerate(self.splits) if own == split]


@dataclass(frozen=True)
class Space:
    """A method's result: every adapter's embedding, and how queries get beside them."""

    embeddings: Floats  # (adapters, dim), unit rows
    project: Callable[[Floats], Floats]


def measure(zoo: Zoo, space: Space, split: str) -> dict[str, Any]:
    """Return all figures of a split; intervals are 95 %, by bootstrap over its adapters."""
    own = zoo.indices(split)
    galleries = {"own": own, "everything": list(range(len(zoo.paths)))}
    languages = {"english": zoo.english, "chinese": zoo.chinese}
    figures: dict[str, Any] = {}
    for language, captions in languages.items():
        queries = space.project(np.concatenate([captions[i] for i in own]))
        each = len(captions[own[0]])
        for name, gallery in galleries.items():
            similarity = queries @ space.embeddings[gallery].T
            targets = np.repeat([gallery.index(i) for i in own], each)
            place = positions(similarity, targets).reshape(len(own), each)
            figures[f"{language}, {name}"] = summary(place)
            if name == "own":
                small = small_gallery_mrr(similarity, targets)
                figures[f"{language}, {name}"][f"mrr_of_{SMALL_GALLERY}"] = small
                figures[f"{language}, {name}"]["mrr_by_kind"] = {
                    kind: float((1 / place[[zoo.kinds[i] == kind for i in own]]).mean())
                    for kind in sorted({zoo.kinds[i] for i in own})
                }
    return figures


def summary(place: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Figures of positions (adapters, captions), each with its interval."""
    rng = np.random.default_rng(0)
    rows = rng.integers(len(place), size=(RESAMPLES, len(place)))
    draws = [asdict(RetrievalMetrics.of(place[row])) for row in rows]
    found = asdict(RetrievalMetrics.of(place))
    return {
        name: [value, *np.quantile([draw[name] for draw in draws], [0.025, 0.975]).tolist()]
        for name, value in found.items()
    }


def small_gallery_mrr(similarity: Floats, targets: npt.NDArray[np.int64]) -> float:
    """Return the mean MRR of random galleries of `SMALL_GALLERY` adapters."""
    rng, found = np.random.default_rng(0), []
    for _ in range(SMALL_DRAWS):
        gallery = rng.permutation(similarity.shape[1])[:SMALL_GALLERY]
        asked = np.isin(targets, gallery)
        place_of = {adapter: place for place, adapter in enumerate(gallery.tolist())}
        own = np.array([place_of[target] for target in targets[asked].tolist()])
        found.append(float((1 / positions(similarity[asked][:, gallery], own)).mean()))
    return float(np.mean(found))


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


def sketch_space(
    zoo: Zoo, sketches: Sequence[Sketch], components: int = DEFAULT_COMPONENTS
) -> tuple[Space, dict[str, Any]]:
    encoder = fit_ridge_to_sketches(
        sketches,
        zoo.both,
        zoo.splits,
        name="benchmark",
        base_model=BASE_MODEL,
        text_encoder=zoo.text_encoder.name,
        components=components,
    )
    stored = sum(array.nbytes for array in encoder.arrays().values())
    facts = {"sketch_bytes": len(sketches[0].to_bytes()), "encoder_bytes": stored}
    return Space(encoder.encode(sketches), encoder.encode_query), facts


def autolora_space(
    zoo: Zoo, adapters: Sequence[LoraWeights], config: AutoLoraConfig, folder: Path, seed: int
) -> Space:
    encoder = train_autolora(
        Dataset(zoo.paths, zoo.captions, zoo.splits),
        zoo.text_encoder,
        name=f"autolora-{seed}",
        base_model=BASE_MODEL,
        config=config,
        schedule=Schedule(seed=seed),
        folder=folder,
    )
    return Space(encoder.encode_weights(adapters), encoder.encode_query)


def run(zoo: Zoo, base: Path, split: str, folder: Path, seeds: int) -> list[dict[str, Any]]:
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
    trained = [adapters[index] for index in zoo.indices("train")]
    bases = {count: fit_basis(family, trained, count) for count in DIRECTIONS}
    kinds = {f"{size} x {size} random directions": {"size": size} for size in RANDOM_SIZES}
    kinds |= {f"{count} learned inputs": {"basis": basis} for count, basis in bases.items()}
    for kind, how in kinds.items():
        started = time.monotonic()
        sketches = [sketch(adapter, **how) for adapter in adapters]
        seconds = round(time.monotonic() - started, 1)
        space, facts = sketch_space(zoo, sketches, zoo.text_encoder.dim)
        add(f"sketch in {kind} + weighed ridge", started, space, sketching=seconds, **facts)
        if how.get("basis") is bases[SHIPPED_DIRECTIONS]:
            space, facts = sketch_space(zoo, sketches)
            name = f"the same, {DEFAULT_COMPONENTS} components, as shipped"
            add(name, started, space, sketching=seconds, **facts)
    config = AutoLoraConfig(family.name)
    for seed in range(seeds):
        started = time.monotonic()
        space = autolora_space(zoo, adapters, config, folder / f"autolora-{seed}", seed)
        add(f"AutoLoRA's encoder, seed {seed}", started, space)
    return rows


def to_markdown(results: dict[str, Any]) -> str:
    """Write the table of a results file: figures, MRR with its 95 % interval in brackets."""
    own, everything = results["galleries"]["own"], results["galleries"]["everything"]
    lines = [
        f"Weights alone, on the {own} {results['split']} adapters: their English captions as "
        f"queries, none of them seen in training on {results['trained_on']} others. R@k and nDCG "
        "in %; MRR with its 95 % interval, by bootstrap over adapters. "
        f"'MRR of {SMALL_GALLERY}' is the mean over random galleries of that many, 'zh' asks in "
        f"Chinese, 'all' ranks among all {everything} adapters, those trained on included.",
        "",
        f"| method | R@1 | R@5 | R@10 | nDCG@10 | MRR | MRR of {SMALL_GALLERY} | MRR zh "
        "| R@1 all | R@10 all | MRR all | sketch KB | encoder MB | s |",
        "|---|" + "---|" * 13,
        chance_row(own, everything),
    ]
    for row in results["rows"]:
        english, chinese = row["english, own"], row["chinese, own"]
        everywhere = row["english, everything"]
        percent = [english[key][0] for key in (*RECALLS, "ndcg_at_10")]
        cells = [
            row["method"],
            *(f"{100 * value:.1f}" for value in percent),
            "{:.3f} [{:.3f}, {:.3f}]".format(*english["mrr"]),
            f"{english[f'mrr_of_{SMALL_GALLERY}']:.3f}",
            f"{chinese['mrr'][0]:.3f}",
            f"{100 * everywhere['recall_at_1'][0]:.1f}",
            f"{100 * everywhere['recall_at_10'][0]:.1f}",
            f"{everywhere['mrr'][0]:.3f}",
            f"{row['sketch_bytes'] / 1e3:.1f}" if "sketch_bytes" in row else "",
            f"{row['encoder_bytes'] / 1e6:.1f}" if "encoder_bytes" in row else "",
            f"{row['seconds']:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def chance_row(own: int, everything: int) -> str:
    """Expected figures of a random order."""
    figures = [RetrievalMetrics.of(np.arange(1.0, n + 1)) for n in (own, SMALL_GALLERY, everything)]
    first, small, large = figures
    percent = [100 * getattr(first, key) for key in (*RECALLS, "ndcg_at_10")]
    cells = [
        *(f"{value:.1f}" for value in percent),
        *(f"{value:.3f}" for value in (first.mrr, small.mrr, first.mrr)),
        *(f"{100 * value:.1f}" for value in (large.recall_at_1, large.recall_at_10)),
        f"{large.mrr:.3f}",
    ]
    return f"| chance | {' | '.join(cells)} | | | |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=BUILD / "zoo")
    parser.add_argument("--base", type=Path, default=BUILD / "base")
    parser.add_argument("--split", default="held-out", choices=("held-out", "validation"))
    parser.add_argument("--seeds", type=int, default=3, help="trainings of AutoLoRA's encoder")
    parser.add_argument("--output", type=Path, default=BUILD / "benchmarks/retrieval.json")
    options = parser.parse_args()
    zoo = Zoo.load(options.zoo)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    results = {
        "split": options.split,
        "trained_on": len(zoo.indices("train")),
        "galleries": {"own": len(zoo.indices(options.split)), "everything": len(zoo.paths)},
        "rows": run(zoo, options.base, options.split, options.output.parent, options.seeds),
    }
    options.output.write_text(json.dumps(results, indent=1) + "\n")
    table = to_markdown(results)
    options.output.with_suffix(".md").write_text(table)
    print(table)


if __name__ == "__main__":
    main()
