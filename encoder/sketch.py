"""LoraWeights -> a small numeric sketch of every layer, stored for good.

Files are large and encoders are retrained; a sketch is all that either needs of a file.
Each layer's ΔW is projected on both sides, S = L ΔW Rᵀ, through A and B, so that ΔW is never
formed. L and R are the family's learned basis where there is one (encoder/basis.py), else
seeded random matrices. Inner products of sketches estimate those of ΔW, and like ΔW they do
not depend on how it is factorised (A -> RA, B -> BR⁻¹).
"""

import hashlib
import json
import math
import struct
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from encoder.base_models import FluxFamily, find_family
from encoder.basis import Basis, find_basis
from encoder.errors import SketchError
from encoder.lora_file import LoraLayer, LoraWeights

Floats = npt.NDArray[np.float32]

# In a learned basis 16 x 16 finds less, 32 x 32 hardly more (docs/benchmarks.md).
DEFAULT_SIZE = 24
MAGIC = b"LORASKETCH"
MAX_BYTES = 4_000_000


# What a file was read by; files read by another one are read again.
SKETCH_VERSION = f"sketch-{DEFAULT_SIZE}-v1"


def version_of(family: str, size: int) -> str:
    """Name a family's sketches of `size` x `size` a layer; other versions never compare."""
    kind = "bilinear" if find_basis(family, size) is None else "basis"
    return f"{kind}-{size}-v1"


@dataclass(frozen=True, slots=True, eq=False)
class Sketch:
    """What is kept of an adapter: direction and strength of every layer's change."""

    version: str
    family: str
    # (layers, size, size), layers in the family's order. Each layer is divided by the
    # Frobenius norm of its ΔW, so that float16 holds changes of any strength.
    values: npt.NDArray[np.float16]
    log_magnitudes: Floats  # (layers,), ln of that norm; 0 where there is no layer
    mask: npt.NDArray[np.bool_]  # (layers,), True where the adapter changes the layer

    def features(self) -> Floats:
        """Return the projections of ΔW itself, (layers, size, size) in float32."""
        magnitudes = np.where(self.mask, np.exp(self.log_magnitudes), 0).astype(np.float32)
        return self.values.astype(np.float32) * magnitudes[:, None, None]

    def to_bytes(self) -> bytes:
        """Serialise; equal sketches give equal bytes."""
        head = json.dumps(
            {"version": self.version, "family": self.family, "shape": self.values.shape}
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
            version, family = str(head["version"]), str(head["family"])
            layers, rows, columns = (int(n) for n in head["shape"])
            mask_end = end + (layers + 7) // 8
            bits = np.frombuffer(data[end:mask_end], np.uint8)
            magnitudes_end = mask_end + 4 * layers
            magnitudes = np.frombuffer(data[mask_end:magnitudes_end], "<f4")
            values = np.frombuffer(data[magnitudes_end:], "<f2").reshape(layers, rows, columns)
            mask = np.unpackbits(bits, count=layers).astype(bool)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise SketchError(f"damaged sketch of {len(data)} bytes: {error}") from error
        return cls(
            version,
            family,
            values.astype(np.float16),
            magnitudes.astype(np.float32),
            mask,
        )


def sketch(weights: LoraWeights, *, size: int = DEFAULT_SIZE, basis: Basis | None = None) -> Sketch:
    """Sketch an adapter, layer by layer. Layers outside the blocks are not looked at.

    `basis` is for trying one out: stored sketches are in the family's own.

    Raises:
        SketchError: the base model is unknown, or the adapter changes nothing in it.
    """
    family = find_family(weights.base_model)
    if family is None:
        raise SketchError(f"no layer set is known for base model {weights.base_model!r}")
    basis = basis or find_basis(family.name, size)
    names = list(family.block_layers)
    values = np.zeros((len(names), size, size), np.float16)
    log_magnitudes = np.zeros(len(names), np.float32)
    mask = np.zeros(len(names), np.bool_)
    for index, name in enumerate(names):
        layer = weights.layers.get(name)
        magnitude = 0.0 if layer is None else delta_norm(layer)
        if layer is None or magnitude == 0:
            continue
        if not math.isfinite(magnitude):
            raise SketchError(f"layer {name} is too large to compute with")
        projected = _project(layer, family, index, size, basis) / magnitude
        values[index] = projected.numpy()
        log_magnitudes[index] = math.log(magnitude)
        mask[index] = True
    if not mask.any():
        raise SketchError(f"the adapter changes no block layer of {family.name}")
    return Sketch(version_of(family.name, size), family.name, values, log_magnitudes, mask)


def delta_norm(layer: LoraLayer) -> float:
    """Return the Frobenius norm of ΔW without forming it: sqrt(tr(BᵀB · AAᵀ)) · scale."""
    down, up = layer.down.float(), layer.up.float()
    squared = ((up.T @ up) * (down @ down.T)).sum(dtype=torch.float64).item()
    return math.sqrt(max(squared, 0.0)) * abs(layer.scale)


def _project(
    layer: LoraLayer, family: FluxFamily, index: int, size: int, basis: Basis | None
) -> Tensor:
    """Return L ΔW Rᵀ (size, size)."""
    if basis is not None:
        up = basis.left[index] @ layer.up.float()
        return layer.scale * (up @ (layer.down.float() @ basis.right[index].T))
    left, right = _projection(layer.up.shape[0], size), _projection(layer.down.shape[1], size)
    flip_out, flip_in = _signs(family.name, index, len(layer.up), layer.down.shape[1])
    up = (left * flip_out) @ layer.up.float()
    down = layer.down.float() @ (right * flip_in).T
    return layer.scale * (up @ down)


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
