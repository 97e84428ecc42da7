"""AutoLoRA's gates: per layer and feature, how much each adapter may contribute."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from registry.fusion.errors import LayerMismatchError
from registry.fusion.fused_layers import LayerStack, block_layers
from registry.fusion.gates.interface import FusedSet, TrainableGates

NORM_EPS = 1e-5
# sigmoid(2) = 0.88: nearly the plain sum, from which training closes what disturbs.
# Trained on a zoo of 336 adapters, it ended better than the paper's random start: loss .690
# against .702 with two adapters loaded, .721 against .743 with three.
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

    def forward(self, base: Tensor, outputs: Tensor, watched: list[Tensor] | None = None) -> Tensor:
        """Fuse outputs (n, ..., dim), n >= 0, into base (..., dim).

        The mean openness of each, (n,), is added to what is `watched`.
        """
        openness = self.openness(base, outputs)
        if watched is not None:
            watched.append(openness.detach().flatten(1).float().mean(1))
        return self.merge(base, outputs, openness)


class AutoLoraGates(TrainableGates):
    """The gates of all layers of one base model, by layer name."""

    kind = "autolora"
    training_rate: ClassVar[float] = 0.01
    needs_embeddings: ClassVar[bool] = False

    def __init__(self, dims: Mapping[str, int], base_model: str, init: Init = "open") -> None:
        super().__init__(base_model)
        self._by_layer = nn.ModuleDict(
            {escape(name): FusionGate(dim, init) for name, dim in dims.items()}
        )

    @classmethod
    def for_transformer(cls, transformer: nn.Module, base_model: str, init: Init = "open") -> Self:
        """Make a gate for every linear layer inside the transformer's blocks."""
        dims = {name: linear.out_features for name, linear in block_layers(transformer).items()}
        return cls(dims, base_model, init)

    @classmethod
    def untrained(
        cls, transformer: nn.Module, base_model: str, embeddings: Tensor | None = None
    ) -> Self:
        return cls.for_transformer(transformer, base_model)

    @property
    def layers(self) -> list[str]:
        return [unescape(name) for name in self._by_layer]

    def covers(self, layer: str) -> bool:
        return escape(layer) in self._by_layer

    def __getitem__(self, layer: str) -> FusionGate:
        gate = self._by_layer[escape(layer)]
        assert isinstance(gate, FusionGate)
        return gate

    def fuse(self, adapters: FusedSet) -> AbstractContextManager[None]:
        """Run adapters, every layer gated by itself, until the context ends."""
        return adapters.hook(
            {
                layer: self._gate_layer(layer, stack, adapters.watch(layer))
                for layer, stack in adapters.stacks.items()
            }
        )

    def _gate_layer(
        self, layer: str, stack: LayerStack, watched: list[Tensor] | None
    ) -> "GatedLayer":
        gate, features = self[layer], stack.up.shape[-1]
        if gate.dim != features:
            raise LayerMismatchError(
                f"layer {layer!r}: its gate has {gate.dim} features, the base {features}"
            )
        return GatedLayer(gate, stack, watched)

    def tensors(self) -> dict[str, Tensor]:
        return dict(self._by_layer.state_dict())

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], base_model: str) -> Self:
        suffix = ".w_out"
        dims = {
            unescape(key.removesuffix(suffix)): len(tensor)
            for key, tensor in tensors.items()
            if key.endswith(suffix)
        }
        gates = cls(dims, base_model)
        gates._by_layer.load_state_dict(tensors)
        return gates


@dataclass(frozen=True)
class GatedLayer:
    """One linear layer whose adapters are gated by what they and the base put out there."""

    gate: FusionGate
    stack: LayerStack
    watched: list[Tensor] | None
    # The gate as the base runs it, if that is elsewhere or in another precision: a copy, since
    # gates are shared.
    fitted: list[FusionGate] = field(default_factory=list)

    def __call__(self, x: Tensor, base: Tensor) -> Tensor:
        outputs = self.stack.outputs(x)  # (n, ..., dim)
        bias = self.gate.bias
        if (bias.device, bias.dtype) == (base.device, base.dtype):
            return self._run(self.gate, base, outputs)
        if torch.is_grad_enabled() and bias.requires_grad:
            # A copy would learn in its place, and be thrown away.
            cast = {name: own.to(base) for name, own in self.gate.named_parameters()}
            fused: Tensor = functional_call(self.gate, cast, (base, outputs, self.watched))
            return fused
        if not self.fitted:
            self.fitted.append(deepcopy(self.gate).to(base))
        return self._run(self.fitted[0], base, outputs)

    def _run(self, gate: FusionGate, base: Tensor, outputs: Tensor) -> Tensor:
        fused: Tensor = gate(base, outputs, self.watched)
        return fused


def escape(layer: str) -> str:
    """Spell a layer's name without dots, which nn.ModuleDict does not take."""
    return layer.replace(".", "/")


def unescape(key: str) -> str:
    return key.replace("/", ".")
