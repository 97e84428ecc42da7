"""Gradients of a model's layers, sketched like adapters while a backward pass goes by."""

from collections.abc import Mapping
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from demo.effects import Floats
from demo.layers import hooked
from encoder.sketches.basis import Basis


class Listener:
    """Adds up the gradients of a model's layers, sketched in a basis, apart for `count` concepts.

    Sample b of a batch is of concept b // (batch / count). No gradient of a weight is formed:
    that of a layer is the sum of δ xᵀ over its tokens, and x is seen in the basis alone.
    """

    def __init__(self, layers: Mapping[str, nn.Linear], basis: Basis, count: int) -> None:
        self.count = count
        self.inputs = dict(zip(layers, basis.inputs, strict=True))
        self.sums = {
            name: torch.zeros(count, layer.out_features, len(self.inputs[name]))
            for name, layer in layers.items()
        }
        self._layers = layers

    def attached(self) -> AbstractContextManager[None]:
        """Listen to every backward pass while inside."""
        return hooked(self._layers, self._listen)

    def _listen(self, name: str, inputs: Tensor, output: Tensor) -> Tensor:
        seen = inputs.detach().reshape(self.count, -1, inputs.shape[-1])
        seen = seen @ self.inputs[name].float().T

        def add(gradient: Tensor) -> None:
            flat = gradient.reshape(self.count, -1, gradient.shape[-1])
            self.sums[name] -= torch.bmm(flat.mT, seen)

        if not output.requires_grad:  # what it comes from is no picture: a time, say
            output = output.detach().requires_grad_(True)
        output.register_hook(add)
        return output

    def sketches(self) -> Floats:
        """Return the steps downhill, (count, values of a sketch)."""
        rows: Floats = torch.cat([part.flatten(1) for part in self.sums.values()], 1).numpy()
        return rows
