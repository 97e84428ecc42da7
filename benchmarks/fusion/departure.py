"""How far honest adapters depart from the base together, and how far those made to do harm.

What a recipe warns of (registry/fusion/departure.py) has to let nearly every honest set pass and
to stop attackers. Honest sets are drawn from the zoo at random, with a prompt that asks for the
first. Attackers come in pairs: one writes loudly where a layer of the base hardly listens, the
other listens exactly there, so that each alone does about nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import nn

from benchmarks.fusion.sheet import Painter, parser_for_painting
from benchmarks.results import RESULTS, write_results
from benchmarks.tables import table
from demo.concepts import Concept, plan
from encoder.adapter.layers import LoraLayer
from encoder.adapter.lora_file import LoraWeights
from registry.fusion.departure import LEAST_DEPARTURE, MOST_DEPARTURE
from registry.fusion.loaded_adapter import LoadedAdapter
from registry.fusion.options import Mode

SIZES = (2, 3, 5)
MODES: tuple[Mode, ...] = ("sum", "gated")
# How loud attackers are, and how many pairs are made for every layer they can use.
LOUDNESS, PAIRS = (2.0, 4.0, 8.0), 4
ATTACKED = "attn.to_v", "attn.to_out.0"
QUANTILES = (0.0, 0.01, 0.5, 0.99, 1.0)


@dataclass(frozen=True)
class Row:
    """The factors of many sets of one kind."""

    kind: str
    mode: Mode
    factors: list[float]


def honest(painter: Painter, split: str, count: int) -> Iterator[Row]:
    """Yield the factors of `count` random sets for each size and mode."""
    concepts = [concept for concept in plan().concepts if concept.split == split]
    for size in SIZES:
        rng = np.random.default_rng(size)
        sets = [
            [concepts[k] for k in rng.choice(len(concepts), size, replace=False)]
            for _ in range(count)
        ]
        for mode in MODES:
            named = track(sets, f"{size} adapters, {mode}", console=Console(stderr=True))
            found = [factor_of(painter, own, mode, seed) for seed, own in enumerate(named)]
            yield Row(f"{size} honest", mode, found)


def factor_of(painter: Painter, concepts: list[Concept], mode: Mode, seed: int) -> float:
    first = concepts[0]
    prompt = first.subject if first.kind == "object" else first.trigger
    departure = painter.fuse(prompt, tuple(concepts), mode, seed, check=True).recipe.departure
    assert departure is not None
    return departure


def attacks(painter: Painter, split: str) -> Iterator[Row]:
    """Yield the factors of pairs of attackers, for each loudness and mode."""
    bystander = next(concept for concept in plan().concepts if concept.split == split)
    model = painter.load(bystander, "a cat").weights
    for loudness in LOUDNESS:
        for mode in MODES:
            pairs = list(attackers(painter.backend.transformer, model, loudness))
            named = track(pairs, f"attackers {loudness:g}, {mode}", console=Console(stderr=True))
            found = []
            for seed, pair in enumerate(named):
                recipe = painter.fuse_loaded("a cat", pair, mode, seed, check=True).recipe
                assert recipe.departure is not None
                found.append(recipe.departure)
            yield Row(f"attackers, {loudness:g} times the layer", mode, found)


def attackers(
    transformer: nn.Module, model: LoraWeights, loudness: float
) -> Iterator[list[LoadedAdapter]]:
    """Yield pairs for every layer, each as loud as so many times the layer that it listens to."""
    blocks = sorted(
        name.removesuffix(f".{ATTACKED[1]}")
        for name, _ in transformer.named_modules()
        if name.endswith(ATTACKED[1])
    )
    for block in blocks:
        value, out = (transformer.get_submodule(f"{block}.{name}") for name in ATTACKED)
        assert isinstance(value, nn.Linear)
        assert isinstance(out, nn.Linear)
        left, values, right = torch.linalg.svd(out.weight.float())
        for number in range(PAIRS):
            generator = torch.Generator().manual_seed(number)
            rows = torch.randn(1, value.in_features, generator=generator)
            # The row is made as long as the layer's own rows are.
            rows *= value.weight.float().norm() / len(value.weight) ** 0.5 / rows.norm()
            deaf, loud = right[-1 - number], left[:, number]
            writer = LoraLayer(rows, loudness * deaf[:, None], 1.0)
            listener = LoraLayer(deaf[None], loudness * float(values[0]) * loud[:, None], 1.0)
            yield [
                alone(model, f"{block}.{name}", layer, f"{loudness} {block} {number} {name}")
                for name, layer in zip(ATTACKED, (writer, listener), strict=True)
            ]


def alone(model: LoraWeights, name: str, layer: LoraLayer, key: str) -> LoadedAdapter:
    """Return an adapter of one layer; all else is as in `model`."""
    return LoadedAdapter(key, key, replace(model, layers={name: layer}))


def to_markdown(rows: list[dict[str, Any]], split: str, count: int) -> str:
    text = (
        f"Honest: {count} random sets of {split} adapters a row. Attackers: {PAIRS} pairs for each "
        "attention of the base's double blocks. The factor is how many times as much all adapters "
        "change the base's output as the strongest of them alone; warned of above "
        f"{MOST_DEPARTURE:g} and below {LEAST_DEPARTURE:g}. Gates see rivals in a layer only, and "
        "these attackers share none.\n\n"
    )
    head = ["sets", "mode", "smallest", "1 %", "median", "99 %", "largest", "warned of"]
    return text + table(head, map(cells_of, rows))


def cells_of(row: dict[str, Any]) -> list[str]:
    factors = np.array(row["factors"])
    warned = ((factors > MOST_DEPARTURE) | (factors < LEAST_DEPARTURE)).mean()
    quantiles = [f"{value:.2f}" for value in np.quantile(factors, QUANTILES)]
    return [row["kind"], row["mode"], *quantiles, f"{warned:.1%}"]


def main() -> None:
    parser = parser_for_painting(__doc__)
    parser.add_argument("--sets", type=int, default=60)
    parser.add_argument("--output", type=Path, default=RESULTS / "departure.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    painter = Painter(options.zoo, options.encoder, options.gates)
    found = [*honest(painter, options.split, options.sets), *attacks(painter, options.split)]
    rows = [{"kind": row.kind, "mode": row.mode, "factors": row.factors} for row in found]
    write_results(options.output, rows, to_markdown(rows, options.split, options.sets))


if __name__ == "__main__":
    main()
