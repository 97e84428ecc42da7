"""One gate over several linear layers of a block, though each of them runs by itself.

The layers of a span read the same input. The first one to be called asks the others for their
base outputs, joins, gates and splits, and the rest of the span is handed its share: those
layers run on no rows, so nothing is computed twice.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from registry.fusion.errors import LayerMismatchError
from registry.fusion.fused_layers import AdapterHook, LayerStack
from registry.fusion.gates.autolora import FusionGate
from registry.fusion.guidance import GuidedPasses


@dataclass(frozen=True)
class SpanLayer:
    """A linear layer of a span, and what adapters add to it."""

    linear: nn.Linear
    stack: LayerStack | None = None  # None if no adapter changes this one
    # The mean openness of each of its adapters, (n,), pass by pass; None if nobody watches.
    watched: list[Tensor] | None = None

    @property
    def columns(self) -> tuple[int, ...]:
        return () if self.stack is None else self.stack.columns


class GateSpan:
    """The linear layers that one gate spans, in the gate's order."""

    def __init__(self, layers: Sequence[SpanLayer], gate: FusionGate) -> None:
        self.layers = tuple(layers)
        self.columns = tuple(sorted({k for layer in layers for k in layer.columns}))
        self.gate = gate
        self.widths = [layer.linear.out_features for layer in layers]
        if sum(self.widths) != gate.dim:
            raise LayerMismatchError(
                f"a gate has {gate.dim} features, the layers that it spans {sum(self.widths)}; "
                "the gates are for another base"
            )
        # The input of the pass at work, and the outputs that wait for their layers.
        self._input: Tensor | None = None
        self._ready: dict[int, Tensor] = {}

    def spare(self, place: int, x: Tensor) -> Tensor:
        """Return the input that layer `place` shall run on: no rows if its output is ready."""
        if x is not self._input:
            # Another pass, or one that was broken off. What is left of it must not be used.
            self._ready.clear()
        return x[:0] if place in self._ready else x

    def output(self, place: int, x: Tensor, base: Tensor) -> Tensor:
        """Return the fused output of layer `place` for input `x`, its base output given."""
        if place in self._ready:
            return self._ready.pop(place)
        bases = [
            base if k == place else layer.linear.forward(x) for k, layer in enumerate(self.layers)
        ]
        fused = self._fuse(x, torch.cat(bases, -1))
        self._ready = dict(enumerate(fused.to(base.dtype).split(self.widths, -1)))
        self._input = x
        output = self._ready.pop(place)
        if not self._ready:
            self._input = None
        return output

    def _fuse(self, x: Tensor, base: Tensor) -> Tensor:
        """Return the outputs of all layers, joined and gated, for the base's, joined."""
        if self.gate.bias.device != x.device:
            self.gate.to(x.device)
        # The gates are in float32: LayerNorms of a wide span lose too much in half of it.
        base = base.float()
        outputs = torch.cat([self._outputs(layer, x) for layer in self.layers], -1)
        openness = self.gate.openness(base, outputs)  # (n, ..., dim)
        for layer, part in zip(self.layers, openness.split(self.widths, -1), strict=True):
            if layer.watched is not None:
                layer.watched.append(part.detach().flatten(1).mean(1)[self._rows(layer)])
        return self.gate.merge(base, outputs, openness)

    def _outputs(self, layer: SpanLayer, x: Tensor) -> Tensor:
        """Return (n, ..., d_out) of all adapters of the span; those who lack this layer give 0."""
        outputs = x.new_zeros(
            len(self.columns), *x.shape[:-1], layer.linear.out_features, dtype=torch.float32
        )
        if layer.stack is not None:
            outputs[self._rows(layer)] = layer.stack.outputs(x).float()
        return outputs

    def _rows(self, layer: SpanLayer) -> list[int]:
        return [self.columns.index(column) for column in layer.columns]


@dataclass(frozen=True)
class SpanHook(AdapterHook):
    """The forward hook of one layer of a span."""

    span: GateSpan
    place: int
    passes: GuidedPasses
    # The input as the caller gave it, which `spare` may have replaced by none of its rows.
    given: list[Tensor]

    def before(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (x,) = inputs
        self.given[:] = [x]
        if self.passes.resting:
            return inputs
        return (self.span.spare(self.place, x),)

    def __call__(self, _: nn.Module, __: tuple[Tensor, ...], base: Tensor) -> Tensor:
        x = self.given.pop()
        return base if self.passes.resting else self.span.output(self.place, x, base)


@contextmanager
def hook_spans(spans: Sequence[GateSpan], passes: GuidedPasses) -> Iterator[None]:
    """Fuse by spans until the context ends; no hook is left then."""
    with ExitStack() as hooks:
        for span in spans:
            for place, layer in enumerate(span.layers):
                hook = SpanHook(span, place, passes, [])
                hooks.callback(layer.linear.register_forward_pre_hook(hook.before).remove)
                hooks.callback(layer.linear.register_forward_hook(hook).remove)
        yield
