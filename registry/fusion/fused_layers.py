"""Which layers of a base adapters change, and what they add there.

An adapter changes linear layers, and convolutions of one pixel, which are linear layers too. All
adapters of one layer lie side by side in a stack, so that one product runs them all. A forward
hook adds what they say to the layer's output; the base weights are never written.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from registry.fusion.device_cache import DeviceAdapter, pad_rank
from registry.fusion.errors import AlreadyAttachedError, LayerMismatchError
from registry.fusion.guidance import GuidedPasses

# What diffusers' transformers call their blocks, Z-Image's apart.
BLOCKS = re.compile(r"transformer_blocks\.|^(layers|noise_refiner|context_refiner)\.")


def block_layers(transformer: nn.Module) -> dict[str, nn.Linear]:
    """Return every linear layer inside the transformer's blocks, by name."""
    return {
        name: module
        for name, module in transformer.named_modules()
        if isinstance(module, nn.Linear) and BLOCKS.search(name)
    }


@dataclass(frozen=True)
class LayerStack:
    """The adapters of one linear layer, ranks padded to the largest, for G groups of n.

    Sample b of a batch of B belongs to group b // (B / G).
    """

    down: Tensor  # (G, d_in, n * rank)
    up: Tensor  # (G, n, rank, d_out), scale and strength applied
    columns: tuple[int, ...]  # which of the attached adapters the n are

    def hidden(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return x (..., d_in) times down, (G, places, n * rank), and up, both as x is.

        They move only where the base is offloaded or runs in another precision.
        """
        groups = len(self.up)
        if len(x) % groups:
            raise LayerMismatchError(f"a batch of {len(x)} does not divide into {groups} groups")
        return x.reshape(groups, -1, x.shape[-1]) @ self.down.to(x), self.up.to(x)

    def outputs(self, x: Tensor) -> Tensor:
        """Return what each adapter says to x (..., d_in), apart: (n, ..., d_out)."""
        hidden, up = self.hidden(x)
        _, count, rank, d_out = up.shape
        apart = hidden.unflatten(-1, (count, rank)).permute(2, 0, 1, 3)  # (n, G, places, rank)
        outputs: Tensor = apart @ up.transpose(0, 1)
        return outputs.reshape(count, *x.shape[:-1], d_out)

    def add_to(self, base: Tensor, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return base (B, ..., d_out) plus what all adapters say to x (B, ..., d_in).

        Each one times its `weights` (B or 1, n), where they are given.
        """
        hidden, up = self.hidden(x)
        if weights is not None:
            by_adapter = hidden.reshape(len(x), -1, *up.shape[1:3])  # (B, places, n, rank)
            hidden = (by_adapter * weights[:, None, :, None]).view_as(hidden)
        # One operation on what is as large as the output, and not two.
        grouped = base.reshape(len(up), -1, base.shape[-1])
        return torch.baddbmm(grouped, hidden, up.flatten(1, 2)).reshape(base.shape)


def stack_adapters(
    adapters: Sequence[DeviceAdapter], strengths: Sequence[float]
) -> dict[str, LayerStack]:
    """Put adapters, each with a strength, side by side, as one group, by layer.

    An adapter that lacks a layer has no column there and costs nothing.

    Raises:
        LayerMismatchError: they disagree on the size of a layer.
    """
    names = {name: None for adapter in adapters for name in adapter.layers}
    return {name: _stack_layer(name, adapters, strengths) for name in names}


def _stack_layer(
    name: str, adapters: Sequence[DeviceAdapter], strengths: Sequence[float]
) -> LayerStack:
    columns = tuple(k for k, adapter in enumerate(adapters) if name in adapter.layers)
    downs, ups, scales = zip(*(adapters[k].layers[name] for k in columns), strict=True)
    sizes = {(len(up), down.shape[1]) for down, up in zip(downs, ups, strict=True)}
    if len(sizes) > 1:
        raise LayerMismatchError(
            f"adapters disagree on layer {name!r}: {' and '.join(map(str, sorted(sizes)))}; "
            "load those of one base model only"
        )
    rank = max(len(down) for down in downs)
    down = torch.cat([pad_rank(down, 0, rank) for down in downs])  # (n * rank, d_in)
    up = torch.cat([pad_rank(up, 1, rank) for up in ups], 1)  # (d_out, n * rank)
    factors = [strengths[k] * scale for k, scale in zip(columns, scales, strict=True)]
    by_adapter = up.unflatten(1, (len(ups), rank)).mul_(
        torch.tensor(factors)[:, None].to(up.device)
    )
    return LayerStack(down.T[None], by_adapter.permute(1, 2, 0)[None], columns)


def find_layer(transformer: nn.Module, name: str, stack: LayerStack) -> nn.Module:
    """Return the linear layer, or the convolution of one pixel, that `stack` belongs to.

    Raises:
        LayerMismatchError: the transformer lacks it, or has it in another size.
        AlreadyAttachedError: it runs adapters already.
    """
    module = _find_free(transformer, name)
    if isinstance(module, nn.Conv2d) and module.kernel_size == module.stride == (1, 1):
        expected = (module.out_channels, module.in_channels)
    else:
        # Not its weight's shape: quantised ones are packed.
        linear = _check_linear(module, name)
        expected = (linear.out_features, linear.in_features)
    got = (stack.up.shape[-1], stack.down.shape[1])
    if got != expected:
        raise LayerMismatchError(f"layer {name!r}: adapter has {got}, the base {expected}")
    return module


def find_linear(transformer: nn.Module, name: str) -> nn.Linear:
    """Return a linear layer that runs no adapters yet; raises as `find_layer` does."""
    return _check_linear(_find_free(transformer, name), name)


def _find_free(transformer: nn.Module, name: str) -> nn.Module:
    try:
        module = transformer.get_submodule(name)
    except AttributeError:
        raise LayerMismatchError(f"the base has no layer {name!r}") from None
    if any(isinstance(hook, AdapterHook) for hook in module._forward_hooks.values()):
        raise AlreadyAttachedError(name)
    return module


def _check_linear(module: nn.Module, name: str) -> nn.Linear:
    if not isinstance(module, nn.Linear):
        raise LayerMismatchError(f"layer {name!r} of the base is no linear layer")
    return module


# Takes a layer's input (B, ..., d_in) and what the base puts out for it (B, ..., d_out); returns
# what the layer puts out with its adapters.
FuseLayer = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class PlainSum:
    """One linear layer whose adapters add up."""

    stack: LayerStack

    def __call__(self, x: Tensor, base: Tensor) -> Tensor:
        return self.stack.add_to(base, x)


class AdapterHook:
    """A forward hook by which adapters are at work in a layer."""


@dataclass(frozen=True)
class LayerHook(AdapterHook):
    """Fuses adapters into one layer's output, in the rows in which they are at work."""

    name: str
    fuse: FuseLayer
    passes: GuidedPasses

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...], base: Tensor) -> Tensor:
        (x,) = inputs
        if x.ndim == 2:
            self.passes.check_rows(self.name, len(x))
        rows = self.passes.at_work(len(x))
        if rows == slice(0, len(x)):
            return self._fuse(layer, x, base)
        if rows.start == rows.stop:
            return base
        fused = self._fuse(layer, x[rows], base[rows])
        return torch.cat([base[: rows.start], fused, base[rows.stop :]])

    def _fuse(self, layer: nn.Module, x: Tensor, base: Tensor) -> Tensor:
        if isinstance(layer, nn.Conv2d):
            # Its features are the first axis of a picture and not the last.
            return self.fuse(x.movedim(1, -1), base.movedim(1, -1)).movedim(-1, 1)
        return self.fuse(x, base)


@contextmanager
def hook_layers(
    layers: Mapping[str, nn.Module], fused: Mapping[str, FuseLayer], passes: GuidedPasses
) -> Iterator[None]:
    """Have `layers` put out what `fused` makes of it, by name, until the context ends."""
    with ExitStack() as hooks:
        for name, fuse in fused.items():
            handle = layers[name].register_forward_hook(LayerHook(name, fuse, passes))
            hooks.callback(handle.remove)
        yield
