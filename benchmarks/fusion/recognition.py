"""Count how often fused pictures show both concepts that their prompt names.

The judge is a network that was trained on the art (benchmarks/fusion/recogniser.py), so that
hundreds of pictures are judged, and all alike. Pairs are drawn: an object with a style, a colour,
a texture or a background in turn; the prompt names both. Then the same with a third adapter
beside them that the prompt does not name.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from benchmarks.fusion.recogniser import PATH, Judge, examine, train_recogniser
from benchmarks.fusion.sheet import (
    KINDS,
    SHIPPED,
    WAYS,
    Painter,
    Pair,
    Way,
    draw_pairs,
    parser_for_painting,
)
from benchmarks.intervals import interval
from benchmarks.results import RESULTS, write_results
from benchmarks.tables import signed, table, with_interval
from demo.base import follow_flow, pack
from demo.concepts import Concept, plan
from demo.paths import BUILD
from demo.zoo import World, decode_pictures
from encoder.arrays import Bools
from registry.fusion.attach import attach_stacks
from registry.fusion.guidance import GuidedPasses
from registry.fusion.relevance import relevance_of
from registry.fusion.training.adapter_bank import AdapterBank

PAIRS, BATCH = 240, 24
# Judged beside those on sheets: what resting does to each way of fusing.
JUDGED: dict[str, Way] = {
    "gated": SHIPPED,
    "gated, not resting": ("gated", "fused"),
    "sum": WAYS["sum"],
    "sum, resting": WAYS["sum, resting"],
    "average": WAYS["average"],
    "average, resting": ("average", "base"),
}


@torch.no_grad()
def draw_batch(
    world: World, painter: Painter, pairs: Sequence[Pair], way: Way, seeds: Sequence[int]
) -> Tensor:
    """Draw as `Painter.draw` does, many pairs in one pass: uint8 (pairs, 64, 64, 3)."""
    mode, guide_from = way
    loaded = [
        [painter.load(concept, pair.prompt) for concept in (*pair.adapters, *pair.beside)]
        for pair in pairs
    ]
    size = len(loaded[0])
    bank = AdapterBank([one.weights for own in loaded for one in own])
    sets = torch.arange(len(bank)).view(-1, size)
    share = 1 / size if mode == "average" else 1.0
    stacks = bank.pick(sets, torch.full(sets.shape, share))
    gates = painter.gates if mode == "gated" else None
    relevance = leanings = None
    if gates is not None:
        nearness = [torch.tensor([one.similarities for one in own]).T for own in loaded]
        embeddings = torch.tensor([[one.embedding for one in own] for own in loaded])
        relevance = torch.stack([relevance_of(own) for own in nearness])
        leanings = gates.leanings(embeddings)
    sampling = painter.backend.defaults
    tokens, pooled = world.prompts.encode([*(pair.prompt for pair in pairs), ""])
    asked = tokens[:-1], pooled[:-1]
    nothing = tokens[-1:].expand_as(asked[0]), pooled[-1:].expand_as(asked[1])
    noise = [
        torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in seeds
    ]
    x = pack(torch.cat(noise))
    passes = GuidedPasses("calls" if guide_from == "base" else None)
    with attach_stacks(
        world.transformer, stacks, gates, relevance=relevance, leanings=leanings, passes=passes
    ):
        x = follow_flow(world.transformer, x, asked, nothing, sampling.steps, sampling.guidance)
    return decode_pictures(world.vae, x)


def seen(
    world: World, painter: Painter, judge: Judge, pairs: Sequence[Pair], way: Way, name: str
) -> Bools:
    """Return whether each pair's picture shows its object and its look, (pairs, 2)."""
    starts = track(range(0, len(pairs), BATCH), name, console=Console(stderr=True))
    pictures = [
        draw_batch(
            world, painter, pairs[start : start + BATCH], way, range(start, len(pairs))[:BATCH]
        )
        for start in starts
    ]
    return judge.sees(torch.cat(pictures).numpy(), [pair.adapters for pair in pairs])


def figures(found: dict[str, Bools]) -> dict[str, Any]:
    """Return the share of pictures that show both, the object, the look; and what `gated` has more.

    With 95 % intervals by bootstrap over pairs.
    """
    both = {name: own.all(1).astype(float) for name, own in found.items()}
    rows = {}
    for name, own in found.items():
        more = interval([both["gated"] - both[name]], np.mean) if name != "gated" else None
        rows[name] = {
            "both": interval([both[name]], np.mean),
            "object": float(own[:, 0].mean()),
            "look": float(own[:, 1].mean()),
            "kinds": [float(both[name][place :: len(KINDS)].mean()) for place in range(len(KINDS))],
            "more": more,
        }
    return rows


def to_markdown(results: dict[str, Any]) -> str:
    right = ", ".join(f"{name} {100 * share:.0f} %" for name, share in results["judge"].items())
    text = (
        f"{results['pairs']} pairs of {results['split']} adapters, a picture each; in %, with 95 % "
        "intervals by bootstrap over pairs. An object is told from the "
        f"{results['objects']} of its split, a style from all 8, an effect from all patterns and "
        "colours. Of disturbed pictures of the art themselves the judge tells, among all there "
        f"are: {right}.\n\n"
    )
    head = ["loaded", "fused", "both", "object", "look", *(f"object + {kind}" for kind in KINDS)]
    rows = [
        [loaded, name, *cells_of(row)]
        for loaded, ways in results["rows"].items()
        for name, row in ways.items()
    ]
    return text + table([*head, "gated more often by"], rows)


def cells_of(row: dict[str, Any]) -> list[str]:
    return [
        with_interval([100 * share for share in row["both"]], 0),
        *(f"{100 * share:.0f}" for share in (row["object"], row["look"], *row["kinds"])),
        signed([100 * more for more in row["more"]], 0) if row["more"] else "",
    ]


def objects_of(split: str) -> list[Concept]:
    return [c for c in plan().concepts if c.split == split and c.kind == "object"]


def main() -> None:
    parser = parser_for_painting(__doc__)
    parser.add_argument("--base", type=Path, default=BUILD / "base")
    parser.add_argument("--recogniser", type=Path, default=PATH)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--seed", type=int, default=10)
    parser.add_argument("--output", type=Path, default=RESULTS / "recognition.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    network = train_recogniser(options.recogniser)
    objects = objects_of(options.split)
    judge = Judge(network, objects)
    painter = Painter(options.zoo, options.encoder, options.gates)
    world = World.load(options.base)
    rows = {}
    for beside, loaded in enumerate(("the two named", "a third beside them")):
        pairs = draw_pairs(options.split, options.pairs, options.seed, beside, once=False)
        found = {
            name: seen(world, painter, judge, pairs, way, f"{loaded}, {name}")
            for name, way in JUDGED.items()
        }
        rows[loaded] = figures(found)
    results = {
        "split": options.split,
        "pairs": options.pairs,
        "objects": len(objects),
        "judge": examine(network),
        "rows": rows,
    }
    write_results(options.output, results, to_markdown(results))


if __name__ == "__main__":
    main()
