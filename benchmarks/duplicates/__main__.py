"""How surely the index finds an adapter that was uploaded again, and nothing else for it.

Held-out adapters are written anew in many ways, and some trained on for real; all of these and
all held-out originals go into one PostgreSQL, and every original is asked for its duplicates.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from rich.progress import track
from safetensors.torch import load_file, save_file

from benchmarks.duplicates.index import Index, largest_similarity
from benchmarks.duplicates.rewriting import Factors, factors_of, truncated, write_peft
from benchmarks.results import RESULTS, write_results
from benchmarks.search.world import open_index
from benchmarks.tables import table
from demo.base import flow_loss
from demo.paths import BUILD
from demo.zoo import BATCH, RATE, AdapterGroup, World, descend_each, sample_all
from encoder.adapter.lora_file import read
from registry.retrieval.terms import KINDS

WRITTEN_ANEW = 48
# Trained side by side, so all of one rank.
TRAINED_ON = 16
MORE_STEPS = (5, 20, 80)


def refactored(factors: Factors, generator: torch.Generator) -> Factors:
    found = {}
    for name, (down, up) in factors.items():
        mix = torch.linalg.qr(torch.randn(len(down), len(down), generator=generator)).Q
        found[name] = (mix @ down * 2, up @ mix.T / 2)
    return found


def noisy(factors: Factors, generator: torch.Generator, share: float) -> Factors:
    """Disturb every number by `share` of its matrix' deviation."""
    return {
        name: tuple(  # type: ignore[misc]
            part + share * part.std() * torch.randn(part.shape, generator=generator)
            for part in both
        )
        for name, both in factors.items()
    }


def written_anew(path: Path, seed: int) -> Iterator[tuple[str, Factors, torch.dtype]]:
    """Yield an adapter in the ways that people upload it again."""
    factors = factors_of(read(path))
    generator = torch.Generator().manual_seed(seed)
    yield "cast to bfloat16", factors, torch.bfloat16
    yield "cast to float32", factors, torch.float32
    yield "other factors", refactored(factors, generator), torch.float16
    yield "strength 0.7", {n: (a, 0.7 * b) for n, (a, b) in factors.items()}, torch.float16
    yield "cut to rank r - 1", truncated(factors, lambda rank: rank - 1), torch.float16
    yield "cut to rank r / 2", truncated(factors, lambda rank: rank // 2), torch.float16
    yield "noise of 5 %", noisy(factors, generator, 0.05), torch.float16
    yield "noise of 20 %", noisy(factors, generator, 0.2), torch.float16


def trained_on(
    paths: Mapping[str, Path], steps: tuple[int, ...]
) -> Iterator[tuple[str, str, Factors]]:
    """Yield (what, key, factors) of adapters after some more steps of their own training."""
    world = World.load()
    concepts = [c for c in world.plan.concepts if c.key in paths]
    loaded = [factors_of(read(paths[concept.key])) for concept in concepts]
    group = AdapterGroup(
        world.transformer, len(next(iter(loaded[0].values()))[0]), [0] * len(loaded)
    )
    for name in group.layers:
        group.down[name] = torch.stack([own[name][0] for own in loaded]).requires_grad_(True)
        group.up[name] = torch.stack([own[name][1] for own in loaded]).requires_grad_(True)
    lessons = [world.lesson(concept) for concept in concepts]
    optimizer = torch.optim.AdamW(group.parameters(), RATE / 2, betas=(0.9, 0.99), weight_decay=0.0)
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    done = 0
    for more in steps:
        with group.attached():
            for _ in track(range(more - done), f"Training on to {more} steps"):
                latents, prompt = sample_all(lessons, rng, BATCH)
                when, noise = torch.sigmoid(torch.randn(len(latents))), torch.randn_like(latents)
                losses = flow_loss(world.transformer, latents, prompt, when, noise)
                descend_each(group.parameters(), optimizer, losses.view(len(concepts), BATCH))
        done = more
        for place, concept in enumerate(concepts):
            state = {
                name: (group.down[name][place].detach(), group.up[name][place].detach())
                for name in group.layers
            }
            yield f"trained on, {more} steps", concept.key, state


def run(zoo: Path, folder: Path) -> dict[str, Any]:
    listed = json.loads((zoo / "listing.json").read_text())
    entries = [entry for entry in listed if entry["_split"] == "held-out"]
    order = np.random.default_rng(0).permutation(len(entries)).tolist()
    chosen = [entries[place] for place in order[:WRITTEN_ANEW]]
    ranks = {e["_key"]: _rank(zoo / e["file"]) for e in chosen}
    trained = [e for e in chosen if ranks[e["_key"]] == 4][:TRAINED_ON]
    with open_index() as sessions:
        index = Index(sessions)
        for entry in track(entries, "Originals"):
            index.add(zoo / entry["file"], entry["_key"], "original")
        largest = largest_similarity(sessions, len(entries))
        for seed, entry in enumerate(track(chosen, "Written anew")):
            path = zoo / entry["file"]
            again = folder / "again.safetensors"
            save_file(load_file(path), again, {"format": "pt", "comment": "uploaded again"})
            index.add(again, entry["_key"], "another header")
            for what, factors, dtype in written_anew(path, seed):
                index.add(write_peft(again, factors, dtype), entry["_key"], what)
        paths = {entry["_key"]: zoo / entry["file"] for entry in trained}
        for what, key, factors in trained_on(paths, MORE_STEPS):
            again = write_peft(folder / "again.safetensors", factors, torch.float16)
            index.add(again, key, what)
        found, wrong, total = index.ask()
    return {
        "originals": len(entries),
        "written_anew": len(chosen),
        "trained_on": len(trained),
        "largest": [largest[-1], float(np.quantile(largest, 0.99)), float(np.median(largest))],
        "false": wrong,
        "answers": total,
        "variants": {
            what: {
                "count": len(answers),
                "found": sum(bool(kind) for kind, _ in answers) / len(answers),
                "kinds": {kind: sum(own == kind for own, _ in answers) for kind in KINDS},
                "similarity": [
                    float(np.nanmedian([alike for _, alike in answers])),
                    float(np.nanmin([alike for _, alike in answers])),
                ],
            }
            for what, answers in found.items()
        },
    }


def _rank(path: Path) -> int:
    return next(iter(read(path).layers.values())).rank


def to_markdown(results: dict[str, Any]) -> str:
    text = (
        f"Duplicates: {results['written_anew']} held-out adapters written anew and "
        f"{results['trained_on']} of them trained on, beside all {results['originals']} held-out "
        "originals. "
        f"Of {results['answers']} answers to all originals {results['false']} are adapters of "
        "another making: precision "
        f"{1 - results['false'] / max(results['answers'], 1):.4f}. The most similar two originals "
        f"have {results['largest'][0]:.2f}, the median adapter {results['largest'][2]:.2f} with "
        "its nearest. `found as` counts the answers' kinds (docs/search.md).\n\n"
    )
    rows = [
        [
            what,
            str(row["count"]),
            f"{row['found']:.3f}",
            ", ".join(f"{kind} {count}" for kind, count in row["kinds"].items() if count),
            "{:.3f}, {:.3f}".format(*row["similarity"]),
        ]
        for what, row in results["variants"].items()
    ]
    return text + table(
        ["written", "adapters", "recall", "found as", "similarity: median, least"], rows
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=BUILD / "zoo")
    parser.add_argument("--output", type=Path, default=RESULTS / "duplicates.json")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        results = run(options.zoo, Path(folder))
    write_results(options.output, results, to_markdown(results))


if __name__ == "__main__":
    main()
