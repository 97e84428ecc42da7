"""AutoLoRA's gates: per layer and feature, how much each adapter may contribute."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from registry.fusion.errors import GatesFileError

NORM_EPS = 1e-5
FORMAT, FORMAT_VERSION = "autolora-gates", "1"
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
        tensors = {k: t.float().contiguous() for k, t in self._by_layer.state_dict().items()}
        header = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "base_model": self.base_model,
            "details": json.dumps(self.details, ensure_ascii=False),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        save_file(tensors, partial, header)
        partial.replace(path)
        self.sha256 = hash_file(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Load gates written by `save`.

        Raises:
            GatesFileError: the file is absent, damaged, or something else.
        """
        try:
            with safe_open(path, "pt") as file:
                header = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise GatesFileError(path, str(error)) from error
        if header.get("format") != FORMAT or header.get("version") != FORMAT_VERSION:
            raise GatesFileError(path, f"not {FORMAT} version {FORMAT_VERSION}")
        if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
            raise GatesFileError(path, "holds NaN or infinite values")
        suffix = ".w_out"
        dims = {
            unescape(key.removesuffix(suffix)): len(tensor)
            for key, tensor in tensors.items()
            if key.endswith(suffix)
        }
        try:
            gates = cls(dims, header["base_model"])
            gates.details = json.loads(header["details"])
            gates._by_layer.load_state_dict(tensors)
        except (KeyError, ValueError, RuntimeError) as error:
            raise GatesFileError(path, f"is damaged: {error}") from error
        gates.sha256 = hash_file(path)
        return gates.eval().requires_grad_(False)


def escape(layer: str) -> str:
    """Spell a layer's name without dots, which nn.ModuleDict does not take."""
    return layer.replace(".", "/")


def unescape(key: str) -> str:
    return key.replace("/", ".")


def hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
