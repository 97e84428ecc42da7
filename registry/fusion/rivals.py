"""Gates that see each other, and know what the prompt is about.

Adapters are rivals for every layer. With r_i the prompt's relevance to adapter i, s_i its
strength (which y_i holds already) and t the time, 0 (image) to 1 (noise):

    G_i = 1 / (1 + exp(b(t)) * sum_{j != i} |s_j| exp(a_j - a_i))        a_i = slope * r_i
    y   = y_0 + sum_i G_i * y_i                            b(t) = bias + drift * (1/2 - t)

So a lone adapter is used whole, exactly as if there were no gate; equals share a layer, each
getting its part of the average where b is 0; and one that the prompt is not about gives way
to one that it is about. A rival counts by its strength: turning it down to 0 is leaving it
out. Slope, bias and drift are learned for each type of layer, so that the gates serve adapters
with other layers, and bases with more blocks. A gate is one number an adapter, layer and
sample, so gated adapters cost what adding them up costs.

AutoLoRA's gates (registry/fusion/gate.py) look at the outputs only, one adapter at a time.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from registry.fusion.errors import GatesFileError
from registry.fusion.gates_file import read_gates, write_gates

# Slope, bias and drift to start from: of those tried on the zoo's validation split with one value
# of each for all layers, a middle way; steeper slopes keep more of one adapter, flatter ones
# compose better.
START = (3.5, 0.0, 2.0)
# How far a step of training moves them, relative to one another: about as their sizes are.
PACES = (5.0, 1.0, 2.0)
BLOCK_NUMBER = re.compile(r"\.\d+\.")


class RivalGates(nn.Module):
    """The gates of all layer types of one base model."""

    kind: ClassVar[str] = "rivals"  # recipes cite it

    def __init__(self, layer_types: Iterable[str], base_model: str) -> None:
        super().__init__()
        self.base_model = base_model
        # Where the gates come from. Saved as JSON.
        self.details: dict[str, Any] = {}
        # Of the file they were loaded from; recipes cite it.
        self.sha256: str | None = None
        self._places = {name: k for k, name in enumerate(sorted(set(layer_types)))}
        # By layer type.
        self.slope, self.bias, self.drift = (
            nn.Parameter(torch.full((len(self._places),), start)) for start in START
        )

    @classmethod
    def for_transformer(cls, transformer: nn.Module, base_model: str) -> Self:
        """Make a gate for every type of linear layer inside the transformer's blocks."""
        return cls(
            (
                layer_type(name)
                for name, part in transformer.named_modules()
                if isinstance(part, nn.Linear) and "transformer_blocks." in name
            ),
            base_model,
        )

    def paces(self) -> list[tuple[nn.Parameter, float]]:
        """Return each parameter with the factor of its rate of training."""
        return list(zip((self.slope, self.bias, self.drift), PACES, strict=True))

    def __contains__(self, layer: str) -> bool:
        return layer_type(layer) in self._places

    def openness(self, layer: str, relevance: Tensor, strengths: Tensor, time: Tensor) -> Tensor:
        """Return G (B, n) for relevance (B, n), strengths (n,) and time (B,).

        Any of the Bs may be 1. Relevance that is NaN counts as the mean of that known.
        """
        place = self._places[layer_type(layer)]
        known = torch.where(relevance.isnan(), relevance.nanmean(-1, keepdim=True), relevance)
        wanted = self.slope[place] * known.nan_to_num()  # (B, n)
        pull = self.bias[place] + self.drift[place] * (0.5 - time)  # (B,)
        # (B, n, n): how much j takes from i, before its strength.
        taken = torch.exp(pull[:, None, None] + wanted[:, None, :] - wanted[:, :, None])
        rivals = strengths.abs() * (1 - torch.eye(len(strengths)).to(strengths))  # (n, n)
        return 1 / (1 + (taken * rivals).sum(-1))

    def save(self, path: Path) -> None:
        """Write safetensors, atomically: the values of every type of layer."""
        values = torch.stack([self.slope, self.bias, self.drift], 1)
        tensors = {name: values[place] for name, place in self._places.items()}
        self.sha256 = write_gates(path, self.kind, self.base_model, self.details, tensors)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Load gates written by `save`.

        Raises:
            GatesFileError: the file is absent, damaged, or something else.
        """
        file = read_gates(path)
        if file.kind != cls.kind:
            raise GatesFileError(path, f"holds gates of the kind {file.kind!r}, not {cls.kind!r}")
        if not file.tensors or any(tensor.shape != (3,) for tensor in file.tensors.values()):
            raise GatesFileError(path, "is damaged: not three values for each type of layer")
        gates = cls(file.tensors, file.base_model)
        values = torch.stack([file.tensors[name] for name in gates._places])
        for (parameter, _), own in zip(gates.paces(), values.T, strict=True):
            parameter.data.copy_(own)
        gates.details, gates.sha256 = file.details, file.sha256
        return gates.eval().requires_grad_(False)


@dataclass
class Rivalry:
    """What the gates are told of one attachment; the time follows the base's."""

    gates: RivalGates
    relevance: Tensor  # (B or 1, N), of all that are attached
    strengths: Tensor  # (N,)
    time: Tensor = field(default_factory=lambda: torch.full((1,), 0.5))  # (B or 1,)
    # Of each type of layer and adapters in use, a layer; and the openness of the pass at work.
    asked: Mapping[tuple[str, tuple[int, ...]], str] = field(default_factory=dict)
    _decided: dict[tuple[str, tuple[int, ...]], Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._decide()

    def watch_time(
        self, denoiser: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]
    ) -> None:
        """Note the time the denoiser is called with: a forward pre-hook.

        Transformers are given 0..1, and UNets 0..1000.
        """
        time = torch.as_tensor(named["timestep"] if "timestep" in named else positional[1])
        unit = 1000 if hasattr(denoiser, "time_proj") else 1
        self.time = time.reshape(-1).float() / unit
        self._decide()

    def _decide(self) -> None:
        """Decide once a pass for all layers of a type."""
        for key, layer in self.asked.items():
            self._decided[key] = self.openness(layer, key[1], self.time)

    def openness(self, layer: str, columns: tuple[int, ...], like: Tensor) -> Tensor:
        """Return G (B or 1, n) of the attached adapters `columns`, on the device of `like`."""
        chosen = list(columns)
        told = (self.relevance[:, chosen], self.strengths[chosen], self.time)
        return self.gates.openness(layer, *(part.to(self.gates.slope) for part in told)).to(like)

    def decided(self, type_: str, columns: tuple[int, ...], like: Tensor) -> Tensor:
        """Return the openness G (B or 1, n) that was `asked` for, of this pass."""
        return self._decided[type_, columns].to(like)


def layer_type(layer: str) -> str:
    """Return a layer's name without the number of its block."""
    return BLOCK_NUMBER.sub(".*.", layer, count=1)
