"""How far fused adapters take the base from itself, compared with the strongest of them alone.

Adapters that are harmless one by one may have been made to do harm together: one writes where
the other reads, and their product is in neither file (co-loading attacks). What they do to the
base's own output shows it, whatever the layers.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from registry.fusion.guidance import GuidedPasses

# Runs some of the adapters, by place, as they were run together.
AttachSome = Callable[[list[int]], AbstractContextManager[object]]

# Unrelated changes of one size add up to the square root of their number. Of 180 random sets of
# two to five adapters none came to more than 1.7 (docs/benchmarks.md).
MOST_DEPARTURE = 2.0
# Below, adapters undo one another. Gates that hold back the strongest come to .13.
LEAST_DEPARTURE = 0.15
# A factor that is no number any more, for a recipe is JSON.
BEYOND_MEASURE = 1e6


@dataclass
class Recording:
    """The base's passes in which adapters were at work: what went in and came out, by reference."""

    inputs: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)


@contextmanager
def record(denoiser: nn.Module, passes: GuidedPasses) -> Iterator[Recording]:
    """Record the passes of `denoiser` until the context ends, but those in which adapters rest."""
    recording = Recording()

    def keep(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        if passes.resting:
            return
        recording.inputs.append((inputs, named))
        recording.outputs.append(join_samples(output[0]))

    handle = denoiser.register_forward_hook(keep, with_kwargs=True)
    try:
        yield recording
    finally:
        handle.remove()


@torch.no_grad()
def measure_departure(
    denoiser: nn.Module, recording: Recording, attach_some: AttachSome, count: int
) -> float:
    """Return by how much more all `count` adapters change the base's output than any one does.

    Measured at a third of the way, where an image takes its shape; costs `count` + 1 passes.
    """
    place = len(recording.inputs) // 3
    if not torch.isfinite(recording.outputs[place]).all():
        return BEYOND_MEASURE
    inputs, named = recording.inputs[place]

    def run(adapters: list[int]) -> Tensor:
        with attach_some(adapters):
            return join_samples(denoiser(*inputs, **named)[0]).float()

    base = run([])
    largest = max(float((run([k]) - base).norm()) for k in range(count))
    fused = float((recording.outputs[place].float() - base).norm())
    factor = fused / largest if largest else 1.0
    return factor if math.isfinite(factor) else BEYOND_MEASURE


def join_samples(output: Tensor | list[Tensor]) -> Tensor:
    """Return a denoiser's output as one tensor; Z-Image puts out one for each sample."""
    return torch.stack(output) if isinstance(output, list) else output


def warn_of_departure(factor: float) -> str | None:
    """Say in words that a factor is suspicious."""
    if factor > MOST_DEPARTURE:
        return (
            f"together the adapters change the image {factor:.1f} times as much as the strongest "
            "of them alone: they may be made to do harm together, or their strengths are too high"
        )
    if factor < LEAST_DEPARTURE:
        return (
            f"the adapters undo one another: together they change the image {factor:.2f} times "
            "as much as the strongest of them alone"
        )
    return None
