"""A layer as part of another, or as a change of a weight of another shape: views, no copies."""

import math
from collections.abc import Callable
from dataclasses import replace

from encoder.adapter.layers import (
    DenseLayer,
    DoraLayer,
    Layer,
    LohaLayer,
    LokrLayer,
    LoraLayer,
    ReplacedLayer,
    RowsLayer,
    to_arithmetic,
)
from encoder.errors import BaseWeightNeededError
from encoder.late_torch import Tensor, torch

# Inputs that two layers are compared by, and how far bfloat16's rounding may part the outcome.
PROBES, ROUNDING = 4, 0.01


def cut_rows(layer: Layer, rows: slice) -> Layer:
    """Return the change of some outputs of a layer; views of its tensors where it can.

    Raises:
        BaseWeightNeededError: each output's change depends on the others' weights.
    """
    match layer:
        case LoraLayer():
            return replace(layer, up=layer.up[rows])
        case LohaLayer(t1=None):
            return replace(layer, w1_a=layer.w1_a[rows], w2_a=layer.w2_a[rows])
        case LohaLayer():
            return replace(layer, w1_a=layer.w1_a[:, rows], w2_a=layer.w2_a[:, rows])
        case DenseLayer():
            return replace(layer, diff=layer.diff[rows])
        case ReplacedLayer():
            return replace(layer, weight=layer.weight[rows])
        case DoraLayer():
            if len(layer.magnitude) == 1:
                raise BaseWeightNeededError(f"{layer.kind} of fused layers")
            return DoraLayer(cut_rows(layer.change, rows), layer.magnitude[rows])
    return RowsLayer(layer, (rows,))


def swap_halves(layer: Layer) -> Layer:
    """Return the layer with the second half of its outputs first."""
    half = layer.shape[0] // 2
    if isinstance(layer, DoraLayer):
        magnitude = layer.magnitude
        if len(magnitude) > 1:
            magnitude = magnitude.roll(half, 0)
        return DoraLayer(swap_halves(layer.change), magnitude)
    if isinstance(layer, ReplacedLayer):
        return ReplacedLayer(layer.weight.roll(half, 0))
    return RowsLayer(layer, (slice(half, None), slice(half)))


def fit_shape(layer: Layer, shape: tuple[int, ...]) -> Layer | None:
    """Return the layer as a change of a weight of `shape`; None if it is none.

    Kernels of 1x1 may be stored as matrices and the other way round; kernels that are stored
    flat get their height and width.
    """
    if isinstance(layer, DoraLayer):
        change = fit_shape(layer.change, shape)
        magnitude = layer.magnitude
        magnitude = magnitude.reshape(*magnitude.shape[:2], *[1] * (len(shape) - 2))
        wide = zip(magnitude.shape, shape, strict=True)
        if change is None or not all(side in (1, width) for side, width in wide):
            return None
        return DoraLayer(change, magnitude)
    if layer.shape == shape:
        return layer
    if len(layer.shape) == 2 and len(shape) == 4:
        match layer:
            case LohaLayer(t1=None) | LokrLayer():
                layer = replace(layer, kernel=shape[2:])
            case LoraLayer():
                layer = _each_tensor(layer, lambda part: part[:, :, None, None])
            case DenseLayer() | ReplacedLayer():
                layer = _each_tensor(layer, lambda part: part[:, :, None, None])
    elif len(shape) == 2 and layer.shape[2:] == (1, 1):
        match layer:
            case LoraLayer(mid=None) | DenseLayer() | ReplacedLayer():
                layer = _each_tensor(layer, lambda part: part.flatten(1))
    return layer if layer.shape == shape else None


def _each_tensor(layer: Layer, change: Callable[[Tensor], Tensor]) -> Layer:
    match layer:
        case LoraLayer():
            return replace(layer, down=change(layer.down), up=change(layer.up))
        case DenseLayer():
            return replace(layer, diff=change(layer.diff))
        case ReplacedLayer():
            return replace(layer, weight=change(layer.weight))
    return layer


def keep_one(first: Layer, second: Layer) -> tuple[Layer | None, str]:
    """Return which of two layers of one name counts, and what became of the other, in words.

    None where they differ. SimpleTuner trains q, k and v as one layer, and saves beside it those
    that it was made of, which nothing trained.
    """
    if any(tensor.is_meta for tensor in (*first.tensors(), *second.tensors())):
        return (first, "") if is_same_change(first, second) else (None, "")
    if is_same_change(first, second):
        return first, ", alike, and taken once"
    zeros = ", once as zeros, which are left out"
    if _is_zero(first):
        return second, zeros
    return (first, zeros) if _is_zero(second) else (None, "")


def _is_zero(layer: Layer) -> bool:
    return not all(to_arithmetic(tensor).any() for tensor in layer.tensors())


def is_same_change(first: Layer, second: Layer) -> bool:
    """Whether two layers change a weight in the same way, as far as both can be compared.

    Layers of a header have no numbers: then they are taken to be alike, and the file tells.
    """
    if any(tensor.is_meta for tensor in (*first.tensors(), *second.tensors())):
        return first.shape == second.shape
    if isinstance(first, LoraLayer) and isinstance(second, LoraLayer):
        # However they are factored: by what both make of the same few inputs.
        probes = torch.randn(PROBES, math.prod(first.shape[1:]), generator=_seeded())
        ours, theirs = _apply(first, probes), _apply(second, probes)
        return bool((ours - theirs).abs().max() <= ROUNDING * ours.abs().max())
    return (
        type(first) is type(second)
        and first.scale == second.scale
        and len(first.tensors()) == len(second.tensors())
        and all(
            torch.equal(to_arithmetic(ours), to_arithmetic(theirs))
            for ours, theirs in zip(first.tensors(), second.tensors(), strict=True)
        )
    )


def _apply(layer: Layer, inputs: Tensor) -> Tensor:
    down, up = layer.factors()
    return layer.scale * (inputs @ down.float().T @ up.float().T)


def _seeded() -> "torch.Generator":
    return torch.Generator().manual_seed(0)
