"""Measure fusion on the zoo's held-out adapters: retention and composition.

Retention: what is left of an adapter's own gain when others are loaded beside it. A gate
that picks one adapter would win that alone, so there is composition too: an object adapter
and a style adapter on real pictures of that object in that style, which nothing has seen.
Loss is flow matching at fixed times and noise, the same for every mode.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from demo.base import encode_pictures, image_ids
from demo.effects import on_white
from demo.paths import BUILD
from demo.train_gates import Zoo
from demo.vae import to_tensor
from demo.zoo import World
from registry.fusion.gate import Gates
from registry.fusion.inject import attach_stacks
from registry.fusion.train import GateBatch, flow_losses

TIMES = (0.15, 0.3, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95)
# Sets that share one forward pass.
GROUP = 8
MODES = ("sum", "average", "gated")
RESAMPLES = 2000
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A set of adapters, and one picture and prompt for each of TIMES."""

    adapters: tuple[int, ...]
    latents: Tensor  # (len(TIMES), places, channels)
    prompts: list[str]


@torch.no_grad()
def losses(
    zoo: Zoo, cases: Sequence[Case], mode: str, gates: Gates, only: Sequence[int] | None = None
) -> Floats:
    """Return the loss of every case, with its adapters `only`, or all of them."""
    found = []
    for start in range(0, len(cases), GROUP):
        part = cases[start : start + GROUP]
        places = range(len(part[0].adapters)) if only is None else only
        sets = torch.tensor([[case.adapters[k] for k in places] for case in part])
        batch = GateBatch(
            torch.cat([case.latents for case in part]),
            *zoo.encode([prompt for case in part for prompt in case.prompts]),
            image_ids(),
            sets,
        )
        generator = torch.Generator().manual_seed(start)
        noise = torch.randn(batch.latents.shape, generator=generator)
        with attached(zoo, sets, mode, gates):
            loss = flow_losses(
                zoo.world.transformer, batch, torch.tensor(TIMES).repeat(len(part)), noise
            )
        found += loss.view(len(part), -1).mean(1).tolist()
    return np.array(found)


@contextmanager
def attached(zoo: Zoo, sets: Tensor, mode: str, gates: Gates) -> Iterator[None]:
    share = 1 / sets.shape[1] if mode == "average" else 1.0
    stacks = zoo.bank.pick(sets, torch.full(sets.shape, share)) if mode != "base" else {}
    with attach_stacks(zoo.world.transformer, stacks, gates if mode == "gated" else None):
        yield


def retention_cases(zoo: Zoo, split: str, size: int, count: int, *, unseen: bool) -> list[Case]:
    """Draw sets; judged are pictures of the first adapter, with a prompt that asks for it."""
    rng = np.random.default_rng(size)
    members = zoo.members(split)
    cases = []
    for _ in range(count):
        adapters = tuple(rng.choice(members, size, replace=False).tolist())
        concept = zoo.concepts[adapters[0]]
        images = concept.unseen if unseen else concept.images
        picked = [k % len(images) for k in range(len(TIMES))]
        prompts = [zoo.prompts(adapters[0], images[k])[0] for k in picked]
        cases.append(Case(adapters, zoo.latents(adapters[0], unseen=unseen)[picked], prompts))
    return cases


def composition_cases(zoo: Zoo, split: str) -> list[Case]:
    """Take the withheld cells whose two adapters are there: object first, style second."""
    place = {concept.key: k for k, concept in enumerate(zoo.concepts)}
    world = zoo.world
    cases = []
    for image, object_key, style_key, its_split in world.plan.withheld:
        if its_split != split or not {object_key, style_key} <= place.keys():
            continue
        picture = to_tensor(on_white(world.plan.art.rgba[[image]]))
        prompt = f"{world.label(image)}, {zoo.concepts[place[style_key]].trigger}"
        latents = encode_pictures(world.vae, picture).repeat(len(TIMES), 1, 1)
        cases.append(Case((place[object_key], place[style_key]), latents, [prompt] * len(TIMES)))
    if not cases:
        raise SystemExit("the zoo holds no pair of adapters with a withheld picture yet")
    return cases


def measure_retention(zoo: Zoo, gates: Gates, cases: Sequence[Case]) -> dict[str, Any]:
    """Return by mode the share of the adapter's own gain that survives, with intervals."""
    gains = gains_of(zoo, gates, cases, ["alone"])
    own = gains["alone"]
    result: dict[str, Any] = {"cases": len(cases), "own_gain": float(own.mean())}
    for mode in MODES:
        result[mode] = interval([gains[mode], own], lambda g, own: g.mean() / own.mean())
    for other in ("sum", "average"):
        difference = gains["gated"] - gains[other]
        result[f"gated - {other}"] = interval(
            [difference, own], lambda d, own: d.mean() / own.mean()
        )
    return result


def measure_gains(
    zoo: Zoo, gates: Gates, cases: Sequence[Case], alone: Sequence[str]
) -> dict[str, Any]:
    """Return by mode the fall of the loss below the base's, with intervals.

    `alone` names the adapters, by their places in a set, that are measured alone as well.
    """
    gains = gains_of(zoo, gates, cases, alone)
    result = {name: interval([gain], lambda g: g.mean()) for name, gain in gains.items()}
    for other in ("sum", "average", *alone):
        difference = gains["gated"] - gains[other]
        result[f"gated - {other}"] = interval([difference], lambda d: d.mean())
    return {"cases": len(cases), **result}


def gains_of(
    zoo: Zoo, gates: Gates, cases: Sequence[Case], alone: Sequence[str]
) -> dict[str, Floats]:
    base = losses(zoo, cases, "base", gates)
    gains = {
        name: base - losses(zoo, cases, "sum", gates, only=[place])
        for place, name in enumerate(alone)
    }
    return gains | {mode: base - losses(zoo, cases, mode, gates) for mode in MODES}


def interval(samples: list[Floats], statistic: Callable[..., Any]) -> list[float]:
    """Return (value, low, high): a statistic of paired samples, 95 % by bootstrap."""
    rng = np.random.default_rng(0)
    rows = rng.integers(len(samples[0]), size=(RESAMPLES, len(samples[0])))
    draws = [statistic(*(sample[row] for sample in samples)) for row in rows]
    low, high = np.quantile(draws, [0.025, 0.975])
    return [float(statistic(*samples)), float(low), float(high)]


def measure(zoo: Zoo, gates: Gates, split: str, count: int) -> dict[str, Any]:
    """Measure everything on a split, with `count` sets of each size."""
    results: dict[str, Any] = {
        "split": split,
        "gates": gates.sha256,
        "times": TIMES,
        "retention": [],
        "unseen": [],
    }
    for size in track((1, 2, 3), "Retention", console=Console(stderr=True)):
        own, unseen = (
            retention_cases(zoo, split, size, count, unseen=unseen) for unseen in (False, True)
        )
        results["retention"].append({"n": size, **measure_retention(zoo, gates, own)})
        results["unseen"].append({"n": size, **measure_gains(zoo, gates, unseen, ["alone"])})
    pairs = composition_cases(zoo, split)
    composed = measure_gains(zoo, gates, pairs, ["object alone", "style alone"])
    results["composition"] = [{"n": 2, **composed}]
    return results


def to_markdown(results: dict[str, Any]) -> str:
    """Write the measures as tables: value, and the 95 % interval in brackets."""
    gain_columns = [key for key in results["composition"][0] if key not in ("n", "cases")]
    return "\n".join(
        [
            "Retention: share of an adapter's own gain, on its own pictures, that is left with "
            "n adapters loaded (1: as if alone, 0: as the base).",
            "",
            *table(results["retention"], [*MODES, "gated - sum", "gated - average"], 1),
            "",
            "Unseen pictures of the adapter: fall of the loss below the base's, in 1/1000.",
            "",
            *table(results["unseen"], ["alone", *MODES, "gated - sum", "gated - average"], 1000),
            "",
            "Composition: the same on withheld pictures of an object in a style, both adapters "
            "loaded and named by the prompt.",
            "",
            *table(results["composition"], gain_columns, 1000),
            "",
        ]
    )


def table(rows: Sequence[dict[str, Any]], columns: Sequence[str], factor: float) -> list[str]:
    lines = [f"| n | cases | {' | '.join(columns)} |", f"|---|---|{'---|' * len(columns)}"]
    for row in rows:
        cells = [
            "{:.2f} [{:.2f}, {:.2f}]".format(*(factor * value for value in row[column]))
            for column in columns
        ]
        lines.append(f"| {row['n']} | {row['cases']} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, default=BUILD / "base")
    parser.add_argument("--zoo", type=Path, default=BUILD / "zoo")
    parser.add_argument("--gates", type=Path, default=BUILD / "gates.safetensors")
    parser.add_argument("--split", default="held-out", choices=("held-out", "validation"))
    parser.add_argument("--sets", type=int, default=96, help="sets of adapters for each n")
    parser.add_argument("--output", type=Path, default=BUILD / "benchmarks/fusion.json")
    options = parser.parse_args()
    # Withheld cells for tuning pair adapters of the other two splits.
    splits = ("held-out",) if options.split == "held-out" else ("train", "validation")
    zoo = Zoo.load(World.load(options.base), options.zoo, splits)
    gates = Gates.load(options.gates)
    results = measure(zoo, gates, options.split, options.sets)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n")
    table = to_markdown(results)
    options.output.with_suffix(".md").write_text(table)
    print(table)


if __name__ == "__main__":
    main()
