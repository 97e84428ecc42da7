"""LoraWeights -> a small numeric sketch of every layer, stored for good.

Files are large and encoders are retrained; a sketch is all that either needs of a file.
Each layer's ΔW is projected on both sides, S = L ΔW Rᵀ, through A and B, so that ΔW is never
formed: where the family has a basis (encoder/basis.py), on its inputs, all outputs kept as
far as 1 MB allows; else by seeded random matrices. Inner products of sketches estimate those
of ΔW, and like ΔW they do not depend on how it is factorised (A -> RA, B -> BR⁻¹).
"""

import hashlib
import json
import math
import struct
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from encoder.base_models import Family, Shape, find_family
from encoder.basis import Basis, find_basis
from encoder.errors import SketchError
from encoder.layers import Layer
from encoder.lora_file import LoraWeights

Floats = npt.NDArray[np.float32]

# Of a side, in random directions; larger ones find more, at their price.
RANDOM_SIZE = 16
# What a basis' sketches may take of the disk, for each adapter.
MOST_BYTES = 1_000_000
MAGIC = b"LORASKETCH"
MAX_BYTES = 8_000_000
# exp(88) is the largest that float32 holds.
MAX_LOG_MAGNITUDE = 88

# What a file was read by; files read by another one are read again. To be changed with
# anything that changes sketches, a family's basis included.
SKETCH_VERSION = "sketch-v2"


@dataclass(frozen=True)
class Layout:
    """How a family's sketches are made: their version, and each layer's (outputs, inputs)."""

    version: str
    shapes: tuple[Shape, ...]

    @cached_property
    def sizes(self) -> npt.NDArray[np.int64]:
        """How many values each layer has, (layers,)."""
        return np.array([rows * columns for rows, columns in self.shapes])


def layout_of(family: Family, basis: Basis | None, size: int = RANDOM_SIZE) -> Layout:
    """Return the layout of sketches in a basis, or of random ones of `size` x `size`."""
    widths = family.block_layers.values()
    if basis is None:
        return Layout(f"bilinear-{size}-v1", ((size, size),) * len(widths))
    directions = len(basis.inputs[0])
    cap = max(d_out for d_out, _ in widths)
    while sum(min(cap, d_out) for d_out, _ in widths) * directions * 2 > MOST_BYTES:
        cap //= 2
    return Layout(basis.version, tuple((min(cap, d_out), directions) for d_out, _ in widths))


@cache
def default_layout(family: Family) -> Layout:
    """Return the layout that a family's sketches have unless asked for otherwise."""
    return layout_of(family, find_basis(family.name))


@dataclass(frozen=True, slots=True, eq=False)
class Sketch:
    """What is kept of an adapter: direction and strength of every layer's change."""

    layout: Layout
    family: str
    # All layers' (outputs, inputs) one after another, in the family's order. Each layer is
    # divided by the Frobenius norm of its ΔW, so that float16 holds changes of any strength.
    values: npt.NDArray[np.float16]
    log_magnitudes: Floats  # (layers,), ln of that norm; 0 where there is no layer
    mask: npt.NDArray[np.bool_]  # (layers,), True where the adapter changes the layer

    @property
    def version(self) -> str:
        return self.layout.version

    def layers(self) -> list[npt.NDArray[np.float16]]:
        """Return each layer's values, (outputs, inputs)."""
        parts = np.split(self.values, np.cumsum(self.layout.sizes)[:-1])
        return [part.reshape(s) for part, s in zip(parts, self.layout.shapes, strict=True)]

    def features(self) -> Floats:
        """Return the projections of ΔW itself, one after another, in float32."""
        magnitudes = np.where(self.mask, np.exp(self.log_magnitudes), 0).astype(np.float32)
        scaled: Floats = self.values.astype(np.float32) * magnitudes.repeat(self.layout.sizes)
        return scaled

    def to_bytes(self) -> bytes:
        """Serialise; equal sketches give equal bytes."""
        head = json.dumps(
            {"version": self.version, "family": self.family, "shapes": self.layout.shapes}
        ).encode()
        return b"".join(
            (
                MAGIC,
                struct.pack("<I", len(head)),
                head,
                np.packbits(self.mask).tobytes(),
                self.log_magnitudes.astype("<f4").tobytes(),
                self.values.astype("<f2").tobytes(),
            )
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "Sketch":
        """Restore what `to_bytes` wrote.

        Raises:
            SketchError: the bytes are something else or damaged.
        """
        start = len(MAGIC) + 4
        if not data.startswith(MAGIC) or not start <= len(data) <= MAX_BYTES:
            raise SketchError(f"{len(data)} bytes that are no sketch; sketch the file again")
        end = start + struct.unpack("<I", data[len(MAGIC) : start])[0]
        try:
            head = json.loads(data[start:end])
            shapes = tuple((int(rows), int(columns)) for rows, columns in head["shapes"])
            layout = Layout(str(head["version"]), shapes)
            mask_end = end + (len(shapes) + 7) // 8
            bits = np.frombuffer(data[end:mask_end], np.uint8)
            magnitudes_end = mask_end + 4 * len(shapes)
            magnitudes = np.frombuffer(data[mask_end:magnitudes_end], "<f4")
            values = np.frombuffer(data[magnitudes_end:], "<f2").reshape(layout.sizes.sum())
            mask = np.unpackbits(bits, count=len(shapes)).astype(bool)
            family = str(head["family"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise SketchError(f"damaged sketch of {len(data)} bytes: {error}") from error
        sound = bool((np.abs(magnitudes) <= MAX_LOG_MAGNITUDE).all())  # False for NaN
        if min(map(min, shapes), default=0) < 1 or len(magnitudes) != len(shapes) or not sound:
            raise SketchError(f"damaged sketch of {len(data)} bytes")
        return cls(layout, family, values.astype(np.float16), magnitudes.astype(np.float32), mask)


def sketch(weights: LoraWeights, *, basis: Basis | None = None, size: int | None = None) -> Sketch:
    """Sketch an adapter, layer by layer. Layers outside the blocks are not looked at.

    `basis` and `size` (random directions) are for trying them out: stored sketches are made
    in the family's own basis.

    Raises:
        SketchError: the base model is unknown, or the adapter changes nothing in it.
    """
    family = find_family(weights.base_model)
    if family is None:
        raise SketchError(f"no layer set is known for base model {weights.base_model!r}")
    if basis is None and size is None:
        basis, layout = find_basis(family.name), default_layout(family)
    else:
        layout = layout_of(family, basis, size or RANDOM_SIZE)
    parts = []
    log_magnitudes = np.zeros(len(layout.shapes), np.float32)
    mask = np.zeros(len(layout.shapes), np.bool_)
    for index, (name, shape) in enumerate(zip(family.block_layers, layout.shapes, strict=True)):
        layer = weights.layers.get(name)
        magnitude = 0.0 if layer is None else delta_norm(layer)
        if layer is None or magnitude == 0:
            parts.append(np.zeros(shape[0] * shape[1], np.float16))
            continue
        if not math.isfinite(magnitude):
            raise SketchError(f"layer {name} is too large to compute with")
        inputs = None if basis is None else basis.inputs[index].float()
        projected = _project(layer, family, index, shape, inputs) / magnitude
        parts.append(projected.flatten().numpy().astype(np.float16))
        log_magnitudes[index] = math.log(magnitude)
        mask[index] = True
        weights.release()
    if not mask.any():
        raise SketchError(f"the adapter changes no block layer of {family.name}")
    return Sketch(layout, family.name, np.concatenate(parts), log_magnitudes, mask)


def delta_norm(layer: Layer) -> float:
    """Return the Frobenius norm of ΔW without forming it: sqrt(tr(BᵀB · AAᵀ)) · scale."""
    down, up = (part.float() for part in layer.factors())
    squared = ((up.T @ up) * (down @ down.T)).sum(dtype=torch.float64).item()
    return math.sqrt(max(squared, 0.0)) * abs(layer.scale)


def _project(
    layer: Layer, family: Family, index: int, shape: Shape, inputs: Tensor | None
) -> Tensor:
    """Return L ΔW Rᵀ (outputs, inputs); random matrices stand in for what is not given."""
    down, up = (part.float() for part in layer.factors())
    d_out, d_in = len(up), down.shape[1]
    flip_out, flip_in = _signs(family.name, index, d_out, d_in)
    if inputs is None:
        inputs = _projection(d_in, shape[1]) * flip_in
    if shape[0] != d_out:
        up = (_projection(d_out, shape[0]) * flip_out) @ up
    return layer.scale * (up @ (down @ inputs.T))


@cache
def _projection(width: int, size: int) -> Tensor:
    """Orthonormal rows (size, width), scaled so that lengths are kept on average.

    One matrix a width serves all layers (FLUX.1's 494 would take 340 MB); signs that
    differ by layer make their errors independent.
    """
    rows = min(size, width)
    seed = _random_signs(f"projection {width}", rows * width).reshape(width, rows)
    basis, triangle = np.linalg.qr(seed.astype(np.float64))
    # LAPACKs may differ in the signs of a basis; a positive diagonal fixes them.
    basis *= np.sign(np.diag(triangle))
    padded = np.zeros((size, width), np.float32)
    padded[:rows] = basis.T * math.sqrt(width / rows)
    return torch.from_numpy(padded)


@cache
def _signs(family: str, index: int, d_out: int, d_in: int) -> tuple[Tensor, Tensor]:
    both = _random_signs(f"{family} layer {index}", d_out + d_in)
    return torch.from_numpy(both[:d_out]), torch.from_numpy(both[d_out:])


def _random_signs(seed: str, count: int) -> Floats:
    """Return seeded ±1, (count,). Raw bits of Philox are the same in every numpy."""
    key = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:16], "little")
    raw = np.random.Philox(key=key).random_raw(-(-count // 64))
    bits = np.unpackbits(raw.astype("<u8").view(np.uint8), count=count)
    return bits.astype(np.float32) * 2 - 1
