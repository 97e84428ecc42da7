"""What the demo's trainings share: rates, steps down a loss, and a state that outlives a kill."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from crawler.whole_file import written_whole


def rate_factor(step: int, steps: int, warm_up: int, fall: float) -> float:
    """Rise over `warm_up` steps, hold, then fall linearly to zero over the share `fall`."""
    return min(1.0, (step + 1) / warm_up, (steps - step) / (fall * steps))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def descend(module: nn.Module, optimizers: Iterable[torch.optim.Optimizer], loss: Tensor) -> None:
    """Take one step down a loss, the norm of its gradient clipped to 1."""
    module.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()


class Stateful(Protocol):
    """A module or an optimiser."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...


@dataclass
class Checkpoint:
    """Parts of a training with the number of steps done, replaced on disk at once."""

    path: Path
    parts: dict[str, Stateful]
    every_seconds: float = 180
    _saved_at: float = field(default_factory=time.monotonic)

    def restore(self) -> int:
        """Load what was saved, if anything; returns the number of steps done."""
        if not self.path.exists():
            return 0
        state = torch.load(self.path, weights_only=True)
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        return int(state["step"])

    def due(self) -> bool:
        return time.monotonic() - self._saved_at > self.every_seconds

    def save(self, step: int) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        state = {"step": step} | {name: part.state_dict() for name, part in self.parts.items()}
        with written_whole(self.path) as partial:
            torch.save(state, partial)
        self._saved_at = time.monotonic()
