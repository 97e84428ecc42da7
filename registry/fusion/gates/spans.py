"""One gate over several linear layers of a block, though each of them runs by itself.

The layers of a span read the same input. The first one to be called asks the others for their
base outputs, joins, gates and splits, and the rest of the span is handed its share: those
layers run on no rows, so nothing is computed twice.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from registry.fusion.errors import LayerMismatchError
from registry.fusion.gates.autolora import FusionGate
from registry.fusion.guidance import Passes


@dataclass(frozen=True)
class Part:
    """A linear layer of a span, and what adapters add to it."""

    linear: nn.Linear
    # Input (..., d_in) -> outputs (n, ..., d_out) of the adapters `columns`; None if none has it.
    outputs: Callable[[Tensor], Tensor] | None = None
    columns: tuple[int, ...] = ()
    # By pass, the mean openness of each of its adapters, (n,); None = not watched.
    watched: list[Tensor] | None = None


class Span:
    """The linear layers that one gate spans, in the gate's order."""

    def __init__(self, parts: Sequence[Part], gate: FusionGate) -> None:
        self.parts = tuple(parts)
        self.columns = tuple(sorted({k for part in parts for k in part.columns}))
        self.gate = gate
        self.widths = [part.linear.out_features for part in parts]
        if sum(self.widths) != gate.dim:
            raise LayerMismatchError(
                f"a gate has {gate.dim} features, the layers that it spans {sum(self.widths)}; "
                "the gates are for another base"
            )
        # Of the pass at work: its input, and the outputs that wait for their layers.
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
            base if k == place else part.linear.forward(x) for k, part in enumerate(self.parts)
        ]
        fused = self._fuse(x, torch.cat(bases, -1))
        self._ready = dict(enumerate(fused.to(base.dtype).split(self.widths, -1)))
        self._input = x
        own = self._ready.pop(place)
        if not self._ready:
            self._input = None
        return own

    def _fuse(self, x: Tensor, base: Tensor) -> Tensor:
        if self.gate.bias.device != x.device:
            self.gate.to(x.device)
        # In float32 like the gates: LayerNorms of a wide span lose too much in half of it.
        base = base.float()
        outputs = torch.cat([self._outputs(part, x) for part in self.parts], -1)
        openness = self.gate.openness(base, outputs)
        for part, own in zip(self.parts, openness.split(self.widths, -1), strict=True):
            if part.watched is not None:
                part.watched.append(own.detach().flatten(1).mean(1)[self._rows(part)])
        return self.gate.merge(base, outputs, openness)

    def _outputs(self, part: Part, x: Tensor) -> Tensor:
        """Return (n, ..., d_out) of all adapters of the span; those who lack this part give 0."""
        outputs = x.new_zeros(
            len(self.columns), *x.shape[:-1], part.linear.out_features, dtype=torch.float32
        )
        if part.outputs is not None:
            outputs[self._rows(part)] = part.outputs(x).float()
        return outputs

    def _rows(self, part: Part) -> list[int]:
        return [self.columns.index(column) for column in part.columns]


@dataclass(frozen=True)
class SpanHook:
    """The forward hook of one layer of a span."""

    span: Span
    place: int
    passes: Passes
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
def hook(spans: Sequence[Span], passes: Passes) -> Iterator[None]:
    """Fuse by spans until the context ends; no hook is left then."""
    with ExitStack() as hooks:
        for span in spans:
            for place, part in enumerate(span.parts):
                own = SpanHook(span, place, passes, [])
                hooks.callback(part.linear.register_forward_pre_hook(own.before).remove)
                hooks.callback(part.linear.register_forward_hook(own).remove)
        yield
