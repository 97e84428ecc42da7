"""Processes that train one network together, each on its part of every batch."""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from accelerate import Accelerator


class Workers:
    """One process alone, or those that `accelerate launch` started."""

    def __init__(self, accelerator: "Accelerator | None" = None) -> None:
        self._accelerator = accelerator
        self.rank = accelerator.process_index if accelerator else 0
        self.count = accelerator.num_processes if accelerator else 1
        self.device = accelerator.device if accelerator else best_device()

    @classmethod
    def launched(cls) -> "Workers":
        """Return the processes that a launcher announces in the environment, or this one."""
        if "WORLD_SIZE" not in os.environ:
            return cls()
        from accelerate import Accelerator

        return cls(Accelerator(cpu=not torch.cuda.is_available()))

    @property
    def least_batch(self) -> int:
        """How many rows a batch has at least: each process needs one, and a contrast two."""
        return max(2, self.count)

    @property
    def is_first(self) -> bool:
        """True in the process that writes files and talks."""
        return self.rank == 0

    def share(self, rows: Tensor) -> Tensor:
        """Return this process' part of a batch's rows; parts differ by one row at most."""
        return rows.tensor_split(self.count)[self.rank]

    def gather(self, part: Tensor, rows: int) -> Tensor:
        """Join the processes' parts (n, dim) to the batch (rows, dim).

        Gradients flow into this process' own part only.
        """
        if self._accelerator is None:
            return part
        # Parts are padded to one size, since collectives need equal shapes.
        size = -(-rows // self.count)
        padded = torch.cat([part.detach(), part.new_zeros(size - len(part), *part.shape[1:])])
        everyone = self._accelerator.gather(padded.to(self.device)).to(part).split(size)
        counts = [len(chunk) for chunk in torch.arange(rows).tensor_split(self.count)]
        parts = [chunk[:n] for chunk, n in zip(everyone, counts, strict=True)]
        parts[self.rank] = part
        return torch.cat(parts)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up what every process' part of the batch says.

        The loss is over the whole batch in each process, so the sum is its exact gradient.
        Parameters may lie elsewhere than processes exchange: graphics cards do not from memory.
        """
        if self._accelerator is None:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            summed = self._accelerator.reduce(parameter.grad.to(self.device), "sum")
            parameter.grad = summed.to(parameter)

    def wait(self) -> None:
        """Return when all processes have come this far."""
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()


def best_device() -> torch.device:
    """Return the graphics card, if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
