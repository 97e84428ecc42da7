"""LoraWeights -> a small numeric sketch of every layer, stored for good.

Files are large and encoders are retrained; a sketch is all that either needs of a file.
Each layer's ΔW is projected on both sides, S = L ΔW Rᵀ, through A and B, so that ΔW is never
formed. R are a few inputs: those of the family's basis where it has one (basis.py beside this),
else random ones. All outputs are kept as far as 1 MB allows; beyond that L adds them up in
groups with random signs (a count sketch [1]). Inner products of random sketches estimate
those of ΔW, and like ΔW no sketch depends on how it is factorised (A -> RA, B -> BR⁻¹).

- [1] Charikar et al., 2002, https://doi.org/10.1016/S0304-3975(03)00400-6
"""

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from encoder.adapter.layers import Factors, Layer
from encoder.adapter.lora_file import LoraWeights, open_adapter
from encoder.adapter.product_batch import ProductBatch
from encoder.arrays import Doubles, Floats
from encoder.base_models.families import Family, Shape, find_family
from encoder.errors import BaseWeightNeededError, SketchError
from encoder.late_torch import Tensor, torch
from encoder.sketches.basis import Basis, find_basis
from encoder.sketches.seeded import random_signs

Signs = npt.NDArray[np.int8]

# The inputs of families without a basis. At equal bytes, few with many outputs find more than
# the other way round, and several differ less by luck than one (docs/benchmarks.md).
RANDOM_INPUTS = 4
# What sketches may take of the disk, for each adapter.
MOST_BYTES = 1_000_000
MAGIC = b"LORASKETCH"
MAX_BYTES = 8_000_000
# exp(76) times any float16 fits into float32.
MAX_LOG_MAGNITUDE = 76
# How many groups of layers' signs are kept, as bytes.
MOST_STACKS = 256

# What a file was read by; files read by another one are read again. To be changed with
# anything that changes sketches, a family's basis included.
SKETCH_VERSION = "sketch-v3"


@dataclass(frozen=True)
class Layout:
    """How a family's sketches are made: their version, and each layer's (outputs, inputs)."""

    version: str
    shapes: tuple[Shape, ...]

    @cached_property
    def sizes(self) -> npt.NDArray[np.int64]:
        """How many values each layer has, (layers,)."""
        return np.array([rows * columns for rows, columns in self.shapes])


def layout_of(
    family: Family,
    basis: Basis | None,
    inputs: int = RANDOM_INPUTS,
    most_bytes: int = MOST_BYTES,
) -> Layout:
    """Return the layout of sketches in a basis, or else in so many random inputs."""
    outputs = [d_out for d_out, _ in family.block_layers.values()]
    if basis is not None:
        inputs = len(basis.inputs[0])
    cap = most_outputs(outputs, most_bytes // (2 * inputs))
    shapes = tuple((min(cap, d_out), inputs) for d_out in outputs)
    if basis is None:
        return Layout(f"random-{inputs}x{cap}-v1", shapes)
    return Layout(basis.version if cap == max(outputs) else f"{basis.version}x{cap}", shapes)


def most_outputs(outputs: Sequence[int], together: int) -> int:
    """Return the largest number that layers may keep each to keep no more than `together`."""
    low, high = 1, max(outputs)
    while low < high:
        middle = (low + high + 1) // 2
        if sum(min(middle, count) for count in outputs) <= together:
            low = middle
        else:
            high = middle - 1
    return low


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
                self.log_magnitudes.astype("<f4", copy=False).tobytes(),
                self.values.astype("<f2", copy=False).data,
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
        # The first is False for NaN as well.
        sound = (np.abs(magnitudes) <= MAX_LOG_MAGNITUDE).all() and np.isfinite(values).all()
        if min(map(min, shapes), default=0) < 1 or len(magnitudes) != len(shapes) or not sound:
            raise SketchError(f"damaged sketch of {len(data)} bytes")
        return cls(layout, family, values.astype(np.float16), magnitudes.astype(np.float32), mask)


def sketch(
    weights: LoraWeights,
    *,
    basis: Basis | None = None,
    inputs: int | None = None,
    most_bytes: int = MOST_BYTES,
) -> Sketch:
    """Sketch an adapter, layer by layer. Layers outside the blocks are not looked at.

    `basis`, `inputs` (random ones) and `most_bytes` are for trying them out: stored sketches
    are made in the family's default layout.

    Raises:
        SketchError: the base model is unknown, the adapter changes nothing in it, or what it
            changes depends on the base's weights (DoRA).
    """
    sketcher = Sketcher(weights.base_model, basis=basis, inputs=inputs, most_bytes=most_bytes)
    for name, layer in weights.layers.items():
        sketcher.add(name, layer)
        weights.done_with(layer)
    weights.release()
    return sketcher.finish()


def sketch_file(path: str | Path) -> Sketch:
    """Read and sketch an adapter's file in one pass over its weights.

    Raises:
        LoraFileError: the file cannot be used.
        SketchError: as `sketch`; names the file.
    """
    opened = open_adapter(path)
    sketcher = Sketcher(opened.base_model)
    opened.read(sketcher)
    try:
        return sketcher.finish()
    except SketchError as error:
        raise SketchError(f"{Path(path).name}: {error}") from error


class Sketcher:
    """A sketch in the making: layers are added one by one, in any order.

    What keeps an adapter from being sketched is told by `finish`, so that a file which is read
    for other ends as well is read to its end.
    """

    def __init__(
        self,
        base_model: str,
        *,
        basis: Basis | None = None,
        inputs: int | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        """The arguments are those of `sketch`."""
        self._refusal: SketchError | None = None
        self._family = family = find_family(base_model)
        if family is None:
            self._refusal = SketchError(f"no layer set is known for base model {base_model!r}")
            return
        if basis is None and inputs is None:
            basis = find_basis(family.name)
        if (inputs, most_bytes) == (None, MOST_BYTES) and basis is find_basis(family.name):
            layout = default_layout(family)
        else:
            layout = layout_of(family, basis, inputs or RANDOM_INPUTS, most_bytes)
        self._basis, self._layout = basis, layout
        self._places = {name: index for index, name in enumerate(family.block_layers)}
        self._stops = np.cumsum(layout.sizes)
        self._values = np.zeros(layout.sizes.sum(), np.float16)
        self._log_magnitudes = np.zeros(len(layout.shapes), np.float32)
        self._mask = np.zeros(len(layout.shapes), np.bool_)

    def add(
        self,
        name: str,
        layer: Layer,
        norm: float | None = None,
        factors: Factors | None = None,
    ) -> None:
        """Sketch a layer; `norm` is that of its ΔW and `factors` its own, where they are known."""
        if self._refusal is None and name in self._places:
            try:
                self._add(name, layer, norm, factors)
            except SketchError as error:
                self._refusal = error

    def add_batch(self, batch: ProductBatch, norms: Doubles) -> None:
        """Sketch layers of equal shapes; `norms` (layers,) are those of their ΔW."""
        if self._refusal is not None:
            return
        places = [place for place, name in enumerate(batch.names) if name in self._places]
        fits = (norms >= math.exp(-MAX_LOG_MAGNITUDE)) & (norms <= math.exp(MAX_LOG_MAGNITUDE))
        if not places or not fits[places].all():
            for place in places:
                self.add(batch.names[place], batch.layers[place], float(norms[place]))
            return
        assert self._family is not None
        batch, norms = batch.take(places), norms[places]
        indices = [self._places[name] for name in batch.names]
        # Layers of equal shapes are kept in equal shapes.
        kept, count = self._layout.shapes[indices[0]]
        inputs, unit = self._inputs_of(tuple(indices), count, batch.downs.shape[2])
        scales = torch.from_numpy(batch.scales * unit / norms).float()[:, None, None]
        answers = (inputs @ batch.downs.transpose(1, 2)).mul_(scales) @ batch.ups
        projected = _fold_outputs(answers, self._family, tuple(indices), kept)
        # By torch: numpy takes ten times as long to round.
        values = projected.transpose(1, 2).half().flatten(1).numpy()
        for index, row in zip(indices, values, strict=True):
            stop = self._stops[index]
            self._values[stop - len(row) : stop] = row
        self._log_magnitudes[indices] = np.log(norms)
        self._mask[indices] = True

    def _inputs_of(self, indices: tuple[int, ...], count: int, width: int) -> tuple[Tensor, float]:
        """Return the inputs that layers are projected on, (layers, count, width), and their unit.

        The unit of random ones keeps lengths on average.
        """
        assert self._family is not None
        if self._basis is not None:
            return torch.stack([self._basis.inputs[index] for index in indices]).float(), 1.0
        signs = _stacked_inputs(self._family.name, indices, count, width)
        return signs.float(), 1 / math.sqrt(count)

    def finish(self) -> Sketch:
        """Return the sketch.

        Raises:
            SketchError: as `sketch`.
        """
        if self._refusal is not None:
            raise self._refusal
        assert self._family is not None
        if not self._mask.any():
            raise SketchError(f"the adapter changes no block layer of {self._family.name}")
        if not _are_finite(self._values):
            raise SketchError("some layer's factors are too large to compute with")
        return Sketch(
            self._layout, self._family.name, self._values, self._log_magnitudes, self._mask
        )

    def _add(self, name: str, layer: Layer, norm: float | None, factors: Factors | None) -> None:
        assert self._family is not None
        down, up = _float_factors(layer, factors)
        magnitude = _norm(down, up) * abs(layer.scale) if norm is None else norm
        if magnitude < math.exp(-MAX_LOG_MAGNITUDE):
            return
        if not magnitude <= math.exp(MAX_LOG_MAGNITUDE):
            raise SketchError(f"layer {name} is too large to compute with")
        index = self._places[name]
        (kept, count), stop = self._layout.shapes[index], self._stops[index]
        # Inputs are rows: wide products are computed several times as fast as tall ones.
        inputs, unit = self._inputs_of((index,), count, down.shape[1])
        answers = inputs @ down.T @ up.T
        # What overflows is found at the end.
        projected = _fold_outputs(answers, self._family, (index,), kept)[0]
        projected *= layer.scale * unit / magnitude
        self._values[stop - projected.numel() : stop] = projected.T.half().flatten().numpy()
        self._log_magnitudes[index] = math.log(magnitude)
        self._mask[index] = True


def delta_norm(layer: Layer) -> float:
    """Return the Frobenius norm of ΔW without forming it: sqrt(tr(BᵀB · AAᵀ)) · scale."""
    return _norm(*_float_factors(layer)) * abs(layer.scale)


def _float_factors(layer: Layer, known: Factors | None = None) -> Factors:
    try:
        down, up = layer.factors() if known is None else known
    except BaseWeightNeededError as error:
        raise SketchError(str(error)) from error
    return down.float(), up.float()


def _are_finite(values: npt.NDArray[np.float16]) -> bool:
    """Whether no number is NaN or infinity, told by its bits: half the time of asking for it."""
    return bool((values.view(np.uint16) & 0x7FFF).max(initial=0) < 0x7C00)


def _norm(down: Tensor, up: Tensor) -> float:
    squared = ((up.T @ up) * (down @ down.T)).sum(dtype=torch.float64).item()
    return math.sqrt(max(squared, 0.0))


def _fold_outputs(answers: Tensor, family: Family, indices: tuple[int, ...], kept: int) -> Tensor:
    """Add outputs up in groups where not all are kept: (layers, inputs, outputs), kept of these."""
    outputs = answers.shape[2]
    if kept == outputs:
        return answers
    signed = answers.mul_(_stacked_outputs(family.name, indices, outputs).float()[:, None])
    whole = outputs // kept * kept
    folded: Tensor = signed[..., :whole].unflatten(2, (-1, kept)).sum(2)
    folded[..., : outputs - whole] += signed[..., whole:]
    return folded


# Layers that are sketched together in one file are in the next.
@lru_cache(maxsize=MOST_STACKS)
def _stacked_inputs(family: str, indices: tuple[int, ...], count: int, width: int) -> Tensor:
    """Return the random inputs of several layers, (layers, count, width)."""
    signs = [_random_inputs(family, index, count, width) for index in indices]
    return torch.from_numpy(np.stack(signs))


@lru_cache(maxsize=MOST_STACKS)
def _stacked_outputs(family: str, indices: tuple[int, ...], width: int) -> Tensor:
    """Return the signs of several layers' outputs, (layers, width)."""
    signs = [_output_signs(family, index, width) for index in indices]
    return torch.from_numpy(np.stack(signs))


# All signs of a base model are kept, as bytes: those of FLUX.1 take 13 MB.
@cache
def _random_inputs(family: str, index: int, count: int, width: int) -> Signs:
    """Rows of ±1, (count, width)."""
    signs = random_signs(f"inputs of {family} layer {index}", count * width)
    return signs.reshape(count, width).astype(np.int8)


@cache
def _output_signs(family: str, index: int, width: int) -> Signs:
    return random_signs(f"outputs of {family} layer {index}", width).astype(np.int8)
