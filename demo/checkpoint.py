"""Training that survives being killed: its whole state on disk, replaced in one step."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch


class Stateful(Protocol):
    """A module or an optimiser."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...


@dataclass
class Checkpoint:
    """Saves and restores parts of a training, with the number of steps done."""

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
        partial = self.path.with_suffix(".partial")
        torch.save(
            {"step": step} | {name: part.state_dict() for name, part in self.parts.items()},
            partial,
        )
        partial.replace(self.path)
        self._saved_at = time.monotonic()
