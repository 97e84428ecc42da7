"""Tensors of one module -> its layer and the vectors beside it, of whatever kind they are.

Works on tensors without data ("meta") too, so that a header is judged by the same code.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from encoder.adapter.alpha import MAGNITUDES, Alpha
from encoder.adapter.layers import (
    DenseLayer,
    DoraLayer,
    Layer,
    LohaLayer,
    LokrLayer,
    LoraLayer,
    ReplacedLayer,
)
from encoder.errors import BadWeightsError
from encoder.late_torch import Tensor

# Trainers offer ranks up to a few hundred; beyond this a "LoRA" is a full matrix or an attack.
MAX_RANK = 4096
# No layer of an image model is as wide by far; a product of factors could be of any size.
MAX_WIDTH = 1_000_000
# Where a change is formed of factors in memory, a file of some KB may stand for a matrix of any
# size. The largest layer known is HiDream-O1's lm_head, 151936x4096.
MAX_FORMED = 640_000_000

# Which slots make a layer, and which of them it cannot do without.
KINDS = (
    ("LoRA", ("down", "up"), ("mid",)),
    ("LoHa", ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), ("hada_t1", "hada_t2")),
    ("LoKr", (), ("lokr_w1", "lokr_w1_a", "lokr_w1_b",
                  "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")),
    ("full difference", ("diff",), ()),
    ("replaced weight", ("set_weight",), ()),
)  # fmt: skip
SLOTS = tuple((kind, frozenset(needed + more)) for kind, needed, more in KINDS)
VECTORS = {"diff_b": "bias", "b_norm": "bias", "w_norm": "weight", "up_bias": "bias"}
SIDES = {"down": "down (A)", "up": "up (B)"}


@dataclass(frozen=True, slots=True)
class Parts:
    """What a file says of one module."""

    layer: Layer | None
    # "bias" or "weight" (of a norm) -> what is added to it.
    vectors: Mapping[str, Tensor] = field(default_factory=dict)
    alpha: float | None = None  # None: there is none that is used, or it was not read


def assemble(
    file: str | Path,
    module: str,
    slots: Mapping[str, str],
    get: Callable[[str], Tensor],
    alpha: Alpha,
) -> Parts:
    """Build the layer of one module; `get` reads a tensor by its name in the file.

    Raises:
        BadWeightsError: tensors are missing, contradict each other or cannot be computed with.
    """
    tensors = {slot: get(key) for slot, key in slots.items()}
    for slot, tensor in tensors.items():
        if not tensor.numel():
            raise BadWeightsError(file, f"layer {module}: {slot} has the empty shape "
                                  f"{_sizes(tensor)}")  # fmt: skip
    kinds = [kind for kind, slots_of in SLOTS if not slots_of.isdisjoint(tensors)]
    if len(kinds) > 1:
        raise BadWeightsError(file, f"layer {module} is {' and '.join(kinds)} at once")
    number = tensors.get("alpha")
    if number is not None and number.numel() != 1:
        raise BadWeightsError(file, f"alpha of layer {module} is not one number")
    layer = None
    if kinds:
        layer = _BUILDERS[kinds[0]](file, module, tensors, alpha)
        _check(file, module, layer, bool(number is not None and not number.is_meta))
    elif not any(slot in tensors for slot in VECTORS):
        raise BadWeightsError(file, f"layer {module} has only {' and '.join(sorted(tensors))}")
    layer, vectors = _split_vectors(file, module, layer, tensors)
    layer = _with_magnitude(file, module, layer, tensors)
    return Parts(layer, vectors, alpha.alpha(module, tensors, number) if kinds else None)


def _lora(file: str | Path, module: str, parts: Mapping[str, Tensor], alpha: Alpha) -> Layer:
    for side, other in (("down", "up"), ("up", "down")):
        if side not in parts:
            lacks = f"layer {module} has {SIDES[other]} and lacks its {SIDES[side]} matrix"
            raise BadWeightsError(file, lacks)
    down, up, mid = parts["down"], parts["up"], parts.get("mid")
    if down.ndim == 4 and up.ndim == 2:
        # Draw Things stores a convolution's so.
        up = up[:, :, None, None]
    if down.ndim not in (2, 4) or up.ndim != down.ndim or (mid is not None and mid.ndim != 4):
        raise BadWeightsError(file, f"layer {module} is {_sizes(up)} by {_sizes(down)}: no layer")
    rank = len(down)
    inner = (rank, rank) if mid is None else tuple(mid.shape[:2])
    if (up.shape[1], rank) != inner or (up.ndim == 4 and up.shape[2:] != (1, 1)):
        raise BadWeightsError(file, f"layer {module} does not multiply: {_sizes(up)} by "
                              f"{_sizes(down)}")  # fmt: skip
    return LoraLayer(down, up, alpha.scale(module, parts.get("alpha"), max(rank, 1)), mid)


def _loha(file: str | Path, module: str, parts: Mapping[str, Tensor], alpha: Alpha) -> Layer:
    names = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
    _need(file, module, parts, names)
    halves = [parts[name] for name in names]
    kernels: list[tuple[int, ...]] = [(), ()]
    if all(half.ndim == 4 for half in halves):
        # OneTrainer's are the weights of two convolutions, the outer one 1 x 1.
        kernels = [tuple(half.shape[2:]) for half in (halves[1], halves[3])]
        halves = [half.flatten(1) for half in halves]
    w1_a, w1_b, w2_a, w2_b = halves
    t1, t2 = parts.get("hada_t1"), parts.get("hada_t2")
    if (t1 is None) != (t2 is None):
        raise BadWeightsError(file, f"layer {module} has one Tucker core of two")
    for a, b, core in ((w1_a, w1_b, t1), (w2_a, w2_b, t2)):
        _check_product(file, module, a, b, core)
    scale = alpha.scale(module, parts.get("alpha"), max(len(w1_b), 1))
    layer = LohaLayer(w1_a, w1_b, w2_a, w2_b, scale, t1, t2, kernels[0])
    if layer.shape != LohaLayer(w2_a, w2_b, w1_a, w1_b, scale, t2, t1, kernels[1]).shape:
        raise BadWeightsError(file, f"layer {module} multiplies changes of different shapes")
    return layer


def _lokr(file: str | Path, module: str, parts: Mapping[str, Tensor], alpha: Alpha) -> Layer:
    factors = []
    for name in ("lokr_w1", "lokr_w2"):
        whole, core = parts.get(name), parts.get("lokr_t2") if name == "lokr_w2" else None
        halves = [parts[half] for half in (f"{name}_a", f"{name}_b") if half in parts]
        if (whole is None) != (len(halves) == 2) or (whole is not None and halves):
            raise BadWeightsError(file, f"layer {module} has neither {name} nor its two halves, "
                                  "or too much of them")  # fmt: skip
        if whole is not None and (whole.ndim not in (2, 4) or core is not None):
            raise BadWeightsError(file, f"layer {module}: {name} is {_sizes(whole)}")
        if halves:
            _check_product(file, module, halves[0], halves[1], core)
        factors.append(tuple(part for part in (whole, *halves, core) if part is not None))
    w1, w2 = factors
    if len(w1) == 1 and w1[0].ndim == 4:
        w1 = (w1[0].flatten(1),)
    # LyCORIS: the rank is that of whatever is factored, and full matrices have no scale.
    inner = next((len(matrix[1]) for matrix in (w1, w2) if len(matrix) > 1), None)
    if inner is None and "alpha" in parts:
        return LokrLayer(w1, w2, 1.0)
    return LokrLayer(w1, w2, alpha.scale(module, parts.get("alpha"), inner or 1))


def _dense(file: str | Path, module: str, parts: Mapping[str, Tensor], alpha: Alpha) -> Layer:
    if parts["diff"].ndim not in (1, 2, 4):
        raise BadWeightsError(file, f"layer {module}: a difference of {_sizes(parts['diff'])}")
    return DenseLayer(parts["diff"])


def _replaced(file: str | Path, module: str, parts: Mapping[str, Tensor], alpha: Alpha) -> Layer:
    if parts["set_weight"].ndim not in (2, 4):
        raise BadWeightsError(file, f"layer {module}: a weight of {_sizes(parts['set_weight'])}")
    return ReplacedLayer(parts["set_weight"])


_BUILDERS = {
    "LoRA": _lora,
    "LoHa": _loha,
    "LoKr": _lokr,
    "full difference": _dense,
    "replaced weight": _replaced,
}


def _split_vectors(
    file: str | Path, module: str, layer: Layer | None, tensors: Mapping[str, Tensor]
) -> tuple[Layer | None, dict[str, Tensor]]:
    vectors: dict[str, Tensor] = {}
    if isinstance(layer, DenseLayer) and layer.diff.ndim == 1:
        vectors["weight"], layer = layer.diff, None  # of a norm
    for slot, name in VECTORS.items():
        if slot not in tensors:
            continue
        vector = tensors[slot]
        if vector.ndim != 1 or name in vectors:
            raise BadWeightsError(file, f"layer {module}: {slot} is {_sizes(vector)}, no vector, "
                                  "or there twice")  # fmt: skip
        if slot == "up_bias":
            if layer is None:
                raise BadWeightsError(file, f"layer {module} has a bias of factors it lacks")
            vector = vector.float() * layer.scale
        vectors[name] = vector
    return layer, vectors


def _with_magnitude(
    file: str | Path, module: str, layer: Layer | None, tensors: Mapping[str, Tensor]
) -> Layer | None:
    stored = [slot for slot in MAGNITUDES if slot in tensors]
    if not stored:
        return layer
    if layer is None or len(stored) > 1 or isinstance(layer, DenseLayer | ReplacedLayer):
        raise BadWeightsError(file, f"layer {module} has a magnitude, but no direction to it")
    outputs, inputs, *kernel = layer.shape
    ones = [1] * len(kernel)
    magnitude = tensors[stored[0]]
    by_output = stored == ["magnitude"] or magnitude.ndim == 1  # PEFT's
    if by_output and magnitude.numel() == outputs:
        return DoraLayer(layer, magnitude.reshape(outputs, 1, *ones))
    if not by_output and magnitude.ndim in (2, 4) and set(magnitude.shape[2:]) <= {1}:
        first, second = magnitude.shape[:2]
        # Only the base tells how many inputs a convolution has that is stored flat.
        if (first, second) == (outputs, 1) or (first == 1 and second and inputs % second == 0):
            return DoraLayer(layer, magnitude)
    raise BadWeightsError(file, f"layer {module}: its magnitude is {_sizes(magnitude)}, "
                          f"its change {layer.shape}")  # fmt: skip


def _check(file: str | Path, module: str, layer: Layer, numeric: bool) -> None:
    if isinstance(layer, DenseLayer) and layer.diff.ndim == 1:
        return
    shape = layer.shape
    if 0 in shape or layer.rank == 0:
        raise BadWeightsError(file, f"layer {module} has the empty shape {shape}")
    if max(shape) > MAX_WIDTH:
        raise BadWeightsError(file, f"layer {module} has the absurd shape {shape}")
    if (formed := _most_formed(layer)) > MAX_FORMED:
        raise BadWeightsError(
            file,
            f"layer {module} of the absurd shape {shape} would be formed as {formed:,} numbers",
        )
    stored = len(layer.down) if isinstance(layer, LoraLayer) else 0
    if isinstance(layer, LohaLayer):
        stored = max(len(layer.w1_b), len(layer.w2_b))
    outputs, *inputs = shape
    # A rank above the layer's width is a waste, and legal.
    if stored > MAX_RANK:
        raise BadWeightsError(
            file, f"layer {module} ({math.prod(inputs)}->{outputs}) has the absurd rank {stored}"
        )
    if not math.isfinite(layer.scale) and numeric:
        raise BadWeightsError(file, f"layer {module} has the scale {layer.scale}")


def _most_formed(layer: Layer) -> int:
    """Return how many numbers the largest matrix has that is formed of a layer's tensors.

    0 where they are used as they are.
    """
    inputs = math.prod(layer.shape[1:])
    match layer:
        case LoraLayer() if layer.mid is not None:
            rank = len(layer.down)
        case LohaLayer():
            rank = max(len(layer.w1_b), len(layer.w2_b))
        case LokrLayer():
            rank = max(len(parts[1]) if len(parts) > 1 else 0 for parts in (layer.w1, layer.w2))
        case _:
            return 0
    # A Tucker core is multiplied by the inputs first, whatever the outputs.
    return max(layer.shape[0], rank) * inputs


def _check_product(
    file: str | Path, module: str, a: Tensor, b: Tensor, core: Tensor | None
) -> None:
    """`a` (outputs, r) by `b` (r, inputs); with a core (r, r, height, width), `a` (r, outputs)."""
    sound = a.ndim == b.ndim == 2 and a.shape[1] == len(b)
    if core is not None:
        sound = (a.ndim, b.ndim, core.ndim) == (2, 2, 4) and core.shape[:2] == (len(a), len(b))
    if not sound or 0 in (*a.shape, *b.shape):
        raise BadWeightsError(file, f"layer {module} does not multiply: {_sizes(a)} by {_sizes(b)}")


def _need(
    file: str | Path, module: str, parts: Mapping[str, Tensor], names: tuple[str, ...]
) -> None:
    if missing := [name for name in names if name not in parts]:
        raise BadWeightsError(file, f"layer {module} lacks its {' and '.join(missing)}")


def _sizes(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a single number"
