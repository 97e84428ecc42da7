"""Loss of fused adapters on many sets, by every way of fusing: cases, gains and shares."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from diffusers import FluxTransformer2DModel
from rich.console import Console
from rich.progress import track
from torch import Tensor

from benchmarks.fusion.oracles import Oracle, load_oracles
from benchmarks.intervals import interval
from demo.base import encode_pictures
from demo.effects import on_white
from demo.fusion_data import Cell, Zoo, effect_cell, withheld_cells
from demo.vae import to_tensor
from encoder.arrays import Doubles
from registry.fusion.attach import attach_stacks
from registry.fusion.fused_layers import LayerStack
from registry.fusion.gates.interface import Gates
from registry.fusion.training.adapter_bank import AdapterBank
from registry.fusion.training.train import GateBatch, flow_losses, leanings_of

# Every time is judged with two noises.
TIMES = 2 * (0.15, 0.3, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95)
# Sets that share one forward pass.
GROUP = 8
SIZES = (1, 2, 3, 5)
# The best single strength of all adapters on the validation split, by n (`--strengths`); that of
# five adapters was not searched for.
STRENGTHS = {1: 1.0, 2: 0.5, 3: 0.4, 5: 0.25}
# A strength of all adapters, or gates.
Mode = float | Gates


@dataclass(frozen=True)
class Case:
    """A set of adapters, and one picture and prompt for each of TIMES."""

    adapters: tuple[int, ...]
    latents: Tensor  # (len(TIMES), places, channels)
    prompts: list[str]
    image: int | None = None  # of a withheld cell


class Base(Protocol):
    """What draws."""

    @property
    def transformer(self) -> FluxTransformer2DModel: ...


class Judged(Protocol):
    """Adapters of some zoo side by side."""

    @property
    def world(self) -> Base: ...
    @property
    def bank(self) -> AdapterBank: ...

    def gate_batch(self, latents: Tensor, prompts: list[str], sets: Tensor) -> GateBatch:
        """Join pictures, their prompts and the sets (G, n) of adapters that draw them."""
        ...


@torch.no_grad()
def losses(
    zoo: Judged,
    cases: Sequence[Case],
    mode: Mode,
    only: Sequence[int] | None = None,
    oracles: dict[int, Oracle] | None = None,
) -> Doubles:
    """Return the loss of every case, with its adapters `only`, or all, or its oracle's."""
    found = []
    for start in range(0, len(cases), GROUP):
        part = cases[start : start + GROUP]
        places = range(len(part[0].adapters)) if only is None else only
        sets = torch.tensor([[case.adapters[k] for k in places] for case in part], dtype=torch.long)
        batch = zoo.gate_batch(
            torch.cat([case.latents for case in part]),
            [prompt for case in part for prompt in case.prompts],
            sets,
        )
        generator = torch.Generator().manual_seed(start)
        noise = torch.randn(batch.latents.shape, generator=generator)
        gates = None if isinstance(mode, float) else mode
        if oracles is not None:
            stacks = stack_oracles([oracles[case.image] for case in part if case.image is not None])
        elif mode == 0.0:
            stacks = {}
        else:
            strength = mode if isinstance(mode, float) else 1.0
            stacks = zoo.bank.pick(sets, torch.full(sets.shape, strength))
        leanings = None if gates is None else leanings_of(gates, batch)
        with attach_stacks(
            zoo.world.transformer, stacks, gates, relevance=batch.relevance, leanings=leanings
        ):
            loss = flow_losses(
                zoo.world.transformer, batch, torch.tensor(TIMES).repeat(len(part)), noise
            )
        found += loss.view(len(part), -1).mean(1).tolist()
    return np.array(found)


def stack_oracles(oracles: Sequence[Oracle]) -> dict[str, LayerStack]:
    return {
        layer: LayerStack(
            down=torch.stack([oracle[layer][0].float().T for oracle in oracles]),
            up=torch.stack([oracle[layer][1].float().T[None] for oracle in oracles]),
            columns=(0,),
        )
        for layer in oracles[0]
    }


def retention_cases(zoo: Zoo, split: str, size: int, count: int, *, unseen: bool) -> list[Case]:
    """Draw sets; judged are pictures of the first adapter, with a prompt that asks for it.

    No adapter is judged twice.
    """
    rng = np.random.default_rng(size)
    members = zoo.members(split)
    cases = []
    for first in rng.permutation(members)[:count].tolist():
        others = rng.choice(members[members != first], size - 1, replace=False)
        adapters = (first, *others.tolist())
        concept = zoo.concepts[first]
        images = concept.unseen if unseen else concept.images
        picked = [k % len(images) for k in range(len(TIMES))]
        prompts = [zoo.prompts(adapters[0], images[k])[0] for k in picked]
        cases.append(Case(adapters, zoo.latents(adapters[0], unseen=unseen)[picked], prompts))
    return cases


def composition_cases(zoo: Zoo, split: str, others: int = 0) -> list[Case]:
    """Take the withheld cells: object, style, and `others` that the prompt does not name."""
    return cases_of(zoo, withheld_cells(zoo, split), others)


def effect_cases(zoo: Zoo, split: str, others: int, count: int) -> list[Case]:
    """Draw objects with an effect, and `others` that the prompt does not name."""
    rng = np.random.default_rng(200)
    cells = [effect_cell(zoo, rng, split, "object") for _ in range(count)]
    return cases_of(zoo, cells, others)


def cases_of(zoo: Zoo, cells: Sequence[Cell], others: int) -> list[Case]:
    rng = np.random.default_rng(others)
    cases = []
    for cell in cells:
        left = np.setdiff1d(np.arange(len(zoo.concepts)), cell.adapters)
        adapters = (*cell.adapters, *rng.choice(left, others, replace=False).tolist())
        latents = cell.latents.expand(len(TIMES), -1, -1)
        cases.append(Case(adapters, latents, [cell.prompt] * len(TIMES), cell.image))
    return cases


def drift_cases(zoo: Zoo, split: str, size: int, count: int) -> list[Case]:
    """Draw sets, and pictures that the base was trained on and none of the adapters is of."""
    rng = np.random.default_rng(100 + size)
    world, cases = zoo.world, []
    for _ in range(count):
        adapters = tuple(rng.choice(zoo.members(split), size, replace=False).tolist())
        taken = {image for k in adapters for image in zoo.concepts[k].images}
        images = rng.choice(world.plan.base_images, 4 * len(TIMES), replace=False).tolist()
        picked = [image for image in images if image not in taken][: len(TIMES)]
        pictures = to_tensor(on_white(world.plan.art.rgba[picked]))
        labels = [world.label(image) for image in picked]
        cases.append(Case(adapters, encode_pictures(world.vae, pictures), labels))
    return cases


def measure(
    zoo: Zoo, cases: Sequence[Case], modes: dict[str, Mode], best: str, *, share: bool
) -> dict[str, Any]:
    """Return what each mode gains over the base, and how much more `best` does, with intervals.

    As the `share` of what the first adapter gains alone, or as the fall of the loss.
    """
    return judge(*gains_of(zoo, cases, modes), best, share=share)


def gains_of(
    zoo: Zoo, cases: Sequence[Case], modes: dict[str, Mode]
) -> tuple[dict[str, Doubles], Doubles]:
    """Return what each mode gains over the base in every case, and the first adapter alone."""
    base = losses(zoo, cases, 0.0)
    gains = {name: base - losses(zoo, cases, mode) for name, mode in modes.items()}
    return gains, base - losses(zoo, cases, 1.0, only=[0])


def judge(gains: dict[str, Doubles], alone: Doubles, best: str, *, share: bool) -> dict[str, Any]:
    figures = compare(gains, best, alone, share)
    return {"cases": len(alone), "alone": float(alone.mean()), **figures}


def measure_composition(
    zoo: Zoo, cases: Sequence[Case], modes: dict[str, Mode], best: str, oracles: dict[int, Oracle]
) -> dict[str, Any]:
    """Return the same as the share of what adapters gain that were trained on the pictures."""
    base = losses(zoo, cases, 0.0)
    alone = {
        name: base - losses(zoo, cases, 1.0, only=[place])
        for place, name in enumerate(("object alone", "style alone"))
    }
    gains = {name: base - losses(zoo, cases, mode) for name, mode in modes.items()}
    oracle = base - losses(zoo, cases, 0.0, oracles=oracles)
    shares = compare(alone | gains, best, oracle, share=True)
    falls = compare(alone | gains, best, oracle, share=False)
    return {"cases": len(cases), "oracle": float(oracle.mean()), "share": shares, "fall": falls}


def compare(gains: dict[str, Doubles], best: str, whole: Doubles, share: bool) -> dict[str, Any]:
    def statistic(gain: Doubles, whole: Doubles) -> float:
        return float(gain.mean() / whole.mean() if share else 1000 * gain.mean())

    values = {name: interval([gain, whole], statistic) for name, gain in gains.items()}
    more = {
        name: interval([gains[best] - gain, whole], statistic)
        for name, gain in gains.items()
        if name != best
    }
    return {"values": values, "more": more}


def measure_all(
    zoo: Zoo, gates: dict[str, Gates], best: str, split: str, count: int
) -> dict[str, Any]:
    """Measure everything on a split, with `count` sets of each size."""

    def modes(size: int) -> dict[str, Mode]:
        plain = {"sum": 1.0, "average": 1 / size, "best strength": STRENGTHS[size]}
        return {**plain, **gates}

    results: dict[str, Any] = {
        "split": split,
        "gates": {name: own.sha256 for name, own in gates.items()},
        "strengths": STRENGTHS,
        "own": {},
        "unseen": {},
        "both": {},
        "composition": {},
        "effects": {},
        "drift": {},
    }
    images = [cell.image for cell in withheld_cells(zoo, split)]
    oracles = load_oracles(zoo.world, images)
    for size, others in ((2, 0), (3, 1)):
        cases = composition_cases(zoo, split, others)
        results["composition"][size] = measure_composition(zoo, cases, modes(size), best, oracles)
        cases = effect_cases(zoo, split, others, count)
        results["effects"][size] = measure(zoo, cases, modes(size), best, share=False)
    for size in track(SIZES, "Sets", console=Console(stderr=True)):
        found = {}
        for name, unseen in (("own", False), ("unseen", True)):
            cases = retention_cases(zoo, split, size, count, unseen=unseen)
            found[name] = gains_of(zoo, cases, modes(size))
            results[name][size] = judge(*found[name], best, share=not unseen)
        # The sets are the same.
        (own, own_alone), (unseen_ones, unseen_alone) = found.values()
        both = {name: own[name] + unseen_ones[name] for name in own}
        results["both"][size] = judge(both, own_alone + unseen_alone, best, share=True)
        if size in (2, 3):
            cases = drift_cases(zoo, split, size, count)
            results["drift"][size] = measure(zoo, cases, modes(size), best, share=False)
    return results
