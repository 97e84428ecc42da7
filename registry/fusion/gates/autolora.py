"""AutoLoRA's gates: per layer and feature, how much each adapter may contribute."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from registry.fusion.errors import GatesFileError
from registry.fusion.gates.file import read_gates, write_gates

NORM_EPS = 1e-5
# sigmoid(2) = 0.88: nearly the plain sum, from which training closes what disturbs.
# On a zoo of 336 adapters it ended better than the paper's random start: loss .690 against
# .702 with two adapters loaded, .721 against .743 with three.
OPEN_BIAS = 2.0

Init = Literal["open", "paper"]


class FusionGate(nn.Module):
    """Fuse any number of adapters' outputs of one linear layer into its base output.

        G_i = sigmoid(w_base*hat(y_0) + w_lora*hat(y_i) + w_cross*hat(y_0)*hat(y_i) + b)
        y   = y_0 + w_out * sum_i G_i*y_i

    per feature, where hat is LayerNorm: one for the base, one shared by all adapters. So
    the order of adapters does not matter, and an output of zeros contributes nothing.
    """

    def __init__(self, dim: int, init: Init = "open") -> None:
        super().__init__()
        self.dim = dim
        self.norm_base = nn.LayerNorm(dim, eps=NORM_EPS)
        self.norm_lora = nn.LayerNorm(dim, eps=NORM_EPS)
        start = torch.zeros if init == "open" else torch.randn
        self.w_base, self.w_lora, self.w_cross = (nn.Parameter(start(dim)) for _ in range(3))
        self.bias = nn.Parameter(
            torch.full((dim,), OPEN_BIAS) if init == "open" else torch.randn(dim)
        )
        self.w_out = nn.Parameter(torch.ones(dim))

    def openness(self, base: Tensor, outputs: Tensor) -> Tensor:
        """Return G, (n, ..., dim), for base (..., dim) and adapters' outputs (n, ..., dim)."""
        base_hat, hats = self.norm_base(base), self.norm_lora(outputs)
        # The formula, regrouped so that only two operations run on the largest tensor.
        slope = torch.addcmul(self.w_lora, self.w_cross, base_hat)
        offset = torch.addcmul(self.bias, self.w_base, base_hat)
        return torch.sigmoid(torch.addcmul(offset, hats, slope))

    def merge(self, base: Tensor, outputs: Tensor, openness: Tensor) -> Tensor:
        """Return the fused output (..., dim)."""
        return torch.addcmul(base, self.w_out, (openness * outputs).sum(0))

    def forward(self, base: Tensor, outputs: Tensor) -> Tensor:
        """Fuse outputs (n, ..., dim), n >= 0, into base (..., dim)."""
        return self.merge(base, outputs, self.openness(base, outputs))


class Gates(nn.Module):
    """The gates of all layers of one base model, by layer name."""

    kind = "autolora"  # recipes cite it

    def __init__(self, dims: Mapping[str, int], base_model: str, init: Init = "open") -> None:
        super().__init__()
        self.base_model = base_model
        # Where the gates come from: training steps, data, losses. Saved as JSON.
        self.details: dict[str, Any] = {}
        # Of the file they were loaded from; recipes cite it.
        self.sha256: str | None = None
        self._by_layer = nn.ModuleDict(
            {escape(name): FusionGate(dim, init) for name, dim in dims.items()}
        )

    @classmethod
    def for_transformer(cls, transformer: nn.Module, base_model: str, init: Init = "open") -> Self:
        """Make a gate for every linear layer inside the transformer's blocks."""
        dims = {
            name: part.out_features
            for name, part in transformer.named_modules()
            if isinstance(part, nn.Linear) and "transformer_blocks." in name
        }
        return cls(dims, base_model, init)

    def paces(self) -> list[tuple[nn.Parameter, float]]:
        """Return each parameter with the factor of its rate of training."""
        return [(parameter, 1.0) for parameter in self.parameters()]

    @property
    def layers(self) -> list[str]:
        return [unescape(name) for name in self._by_layer]

    def __contains__(self, layer: str) -> bool:
        return escape(layer) in self._by_layer

    def __getitem__(self, layer: str) -> FusionGate:
        gate = self._by_layer[escape(layer)]
        assert isinstance(gate, FusionGate)
        return gate

    def save(self, path: Path) -> None:
        """Write safetensors, atomically: parameters by layer, the rest as JSON in the header."""
        tensors = dict(self._by_layer.state_dict())
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
        suffix = ".w_out"
        dims = {
            unescape(key.removesuffix(suffix)): len(tensor)
            for key, tensor in file.tensors.items()
            if key.endswith(suffix)
        }
        gates = cls(dims, file.base_model)
        try:
            gates._by_layer.load_state_dict(file.tensors)
        except RuntimeError as error:
            raise GatesFileError(path, f"is damaged: {error}") from error
        gates.details, gates.sha256 = file.details, file.sha256
        return gates.eval().requires_grad_(False)


def escape(layer: str) -> str:
    """Spell a layer's name without dots, which nn.ModuleDict does not take."""
    return layer.replace(".", "/")


def unescape(key: str) -> str:
    return key.replace("/", ".")
