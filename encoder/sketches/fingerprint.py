"""A few hundred bytes that tell whether two files are the same adapter.

The changes of all layers, ΔW = scale · B · A, are projected at random into one short vector,
which keeps lengths and angles on average (tensor sketches [1], summed over layers). It depends
on ΔW alone: not on how that is factorised (A -> RA, B -> BR⁻¹), where alpha is, what the writer
calls layers or which projections it fuses, and on a float type only as far as that rounds.
Layers are read one by one.

- [1] Pham & Pagh, 2013, https://doi.org/10.1145/2487575.2487591
"""

import math
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from encoder.adapter.gram import DamagedLayerError
from encoder.adapter.layer_measure import (
    LARGEST_NORM,
    MAX_EXACT_RANK,
    PART_ENTRIES,
    Kronecker,
    delta_parts,
    find_lokr,
    form_kronecker,
    is_product,
    measure_layer,
)
from encoder.adapter.layers import (
    DenseLayer,
    DoraLayer,
    Factors,
    Layer,
    LokrLayer,
    ReplacedLayer,
)
from encoder.adapter.lora_file import LoraWeights
from encoder.adapter.product_batch import ProductBatch
from encoder.adapter.spectrum import measure_layers
from encoder.arrays import Doubles
from encoder.errors import FingerprintError
from encoder.late_torch import Tensor, torch
from encoder.sketches.folding import SIZE, fold, fold_product, fold_products, order_of, signs_of

VERSION = 1
MAGIC = b"LORAPRINT"
HEAD = struct.Struct("<9sBf")
# The largest distance between two files of one adapter. In the zoo, 9,600 rewritings are at
# 0.0097 at most, and two of 1,200 adapters at 0.95 at least (benchmarks.duplicates.fingerprints).
TOLERANCE = 0.02
MAX_LOG_NORM = 700.0
# A Kronecker product of FLUX.1's largest layer takes 2e10 at worst, and seconds.
MOST_PRODUCTS = 10**11
# A layer's rows are folded into SIZE rows of as many numbers, of 270 MB then. The widest known
# (Ideogram 4's llm_cond_proj) has 53,248.
MOST_INPUTS = 2**18


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """The direction of an adapter's change, all layers together, and its strength."""

    direction: npt.NDArray[np.float16]  # (SIZE,), of length 1
    log_norm: float  # ln of sqrt(Σ ||ΔW||²), exact and not estimated
    version: int = VERSION

    @property
    def norm(self) -> float:
        """The strength itself."""
        return math.exp(self.log_norm)

    def to_bytes(self) -> bytes:
        """Serialise, in 526 bytes; equal fingerprints give equal bytes."""
        head = HEAD.pack(MAGIC, self.version, self.log_norm)
        return head + self.direction.astype("<f2").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Fingerprint":
        """Restore what `to_bytes` wrote.

        Raises:
            FingerprintError: the bytes are something else, damaged or of another version.
        """
        if len(data) != HEAD.size + 2 * SIZE or not data.startswith(MAGIC):
            raise FingerprintError(f"{len(data)} bytes that are no fingerprint; take it again")
        _, version, log_norm = HEAD.unpack(data[: HEAD.size])
        if version != VERSION:
            raise FingerprintError(f"a fingerprint of version {version}, not {VERSION}")
        direction = np.frombuffer(data[HEAD.size :], "<f2").astype(np.float16)
        length = float(np.linalg.norm(direction.astype(np.float64)))
        # False for NaN.
        if not (abs(log_norm) <= MAX_LOG_NORM and abs(length - 1) < 0.01):
            raise FingerprintError("a damaged fingerprint; take it again")
        return cls(direction, log_norm)

    def short(self) -> str:
        """Return a few digits for people; other digits do not mean another adapter."""
        return np.packbits(self.direction[:48] >= 0).tobytes().hex()


def fingerprint(weights: LoraWeights) -> Fingerprint:
    """Take the fingerprint of an adapter; its base model need not be known.

    DoRA's magnitudes count beside the change of direction, and weights put in the place of
    the base's as they are.

    Raises:
        FingerprintError: the adapter changes nothing, or holds NaN or infinity.
    """
    return fingerprint_layers(weights.layers, weights.vectors, weights.done_with)


def fingerprint_layers(
    layers: Mapping[str, Layer],
    vectors: Mapping[str, Tensor] | None = None,
    release: Callable[[Layer], None] = lambda _: None,
) -> Fingerprint:
    """Take the fingerprint of layers and of changes of biases and norms; raises likewise.

    `release` is called after each layer.
    """
    fingerprinter = Fingerprinter()
    measures = measure_layers(layers, release, [fingerprinter])
    for name, cause in measures.damaged.items():
        raise FingerprintError(f"{name} {cause}; it has no fingerprint")
    return fingerprinter.finish(vectors or {})


class Fingerprinter:
    """A fingerprint in the making: layers are added one by one, in any order.

    What keeps an adapter from having one is told by `finish`, so that a file which is read for
    other ends as well is read to its end.
    """

    def __init__(self) -> None:
        self._spectrum = torch.zeros(SIZE // 2 + 1, dtype=torch.complex128)
        self._log_energies: list[float] = []
        self._refusal: FingerprintError | None = None

    def add(
        self,
        name: str,
        layer: Layer,
        norm: float | None = None,
        factors: Factors | None = None,
    ) -> None:
        """Take in a layer; `norm` is that of its ΔW and `factors` its own, where they are known."""
        if self._refusal is not None:
            return
        try:
            for part, matrix in _matrices(name, layer):
                if is_product(matrix):
                    self._add_product(part, matrix, norm, factors)
                else:
                    self._look_at(part, matrix)
        except DamagedLayerError as error:
            self._refusal = FingerprintError(f"{name} {error}; it has no fingerprint")

    def add_batch(self, batch: ProductBatch, norms: Doubles) -> None:
        """Take in layers of equal shapes."""
        self._log_energies += (2 * np.log(norms)).tolist()
        self._spectrum += fold_products(batch)

    def finish(self, vectors: Mapping[str, Tensor]) -> Fingerprint:
        """Return the fingerprint, with changes of biases and of norms' weights.

        Raises:
            FingerprintError: as `fingerprint`.
        """
        for name, vector in vectors.items():
            self.add(name, DenseLayer(vector.reshape(-1, 1)))
        if self._refusal is not None:
            raise self._refusal
        if not self._log_energies:
            raise FingerprintError("the adapter changes nothing; it has no fingerprint")
        log_norm = float(np.logaddexp.reduce(self._log_energies)) / 2
        vector = torch.fft.irfft(self._spectrum, SIZE).numpy()
        return Fingerprint((vector / np.linalg.norm(vector)).astype(np.float16), log_norm)

    def _add_product(
        self, name: str, layer: Layer, norm: float | None, factors: Factors | None
    ) -> None:
        down, up = layer.factors() if factors is None else factors
        if norm is None:
            measured = measure_layer(layer, factors=(down, up))
            assert measured is not None
            norm = measured.norm
        if norm:
            self._log_energies.append(2 * math.log(norm))
            self._spectrum += fold_product(name, down, up, layer.scale)

    def _look_at(self, name: str, matrix: Layer) -> None:
        norm, transform = _look_at(name, matrix)
        if norm:
            self._log_energies.append(2 * math.log(norm))
            self._spectrum += transform


def similarity(a: Fingerprint, b: Fingerprint) -> float:
    """Return the cosine between two adapters' changes, estimated: 1 the same but for strength."""
    ours, theirs = a.direction.astype(np.float64), b.direction.astype(np.float64)
    return float(ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs))


def strength_ratio(a: Fingerprint, b: Fingerprint) -> float:
    """Return how many times stronger `b` is than `a`."""
    return math.exp(min(b.log_norm - a.log_norm, MAX_LOG_NORM))


def distance(a: Fingerprint, b: Fingerprint) -> float:
    """Return |ΔW_a - ΔW_b| by the larger of both, estimated: 0 the same, 1 and more unrelated.

    The same direction at a strength of 0.9 is at a distance of 0.1.
    """
    ratio = math.exp(-abs(a.log_norm - b.log_norm))
    ours, theirs = a.direction.astype(np.float64), b.direction.astype(np.float64)
    ours, theirs = ours / np.linalg.norm(ours), theirs / np.linalg.norm(theirs)
    return float(np.sqrt((1 - ratio) ** 2 + ratio * np.square(ours - theirs).sum()))


def is_same(a: Fingerprint, b: Fingerprint) -> bool:
    """Whether two files hold the same adapter, at the same strength."""
    return distance(a, b) <= TOLERANCE


def is_same_direction(a: Fingerprint, b: Fingerprint) -> bool:
    """Whether two files hold the same change, at any strength."""
    return distance(a, replace(b, log_norm=a.log_norm)) <= TOLERANCE


def _matrices(name: str, layer: Layer) -> Iterator[tuple[str, Layer]]:
    """Yield what a layer holds as matrices by name, whatever its kind."""
    match layer:
        case DoraLayer():
            yield name, layer.change
            yield f"{name}.magnitude", DenseLayer(layer.magnitude.reshape(-1, 1))
        case ReplacedLayer():
            yield f"{name}.replaced", DenseLayer(layer.weight)
        case _:
            yield name, layer


def _look_at(name: str, layer: Layer) -> tuple[float, Tensor]:
    """Return ||ΔW|| and the Fourier transform of ΔW's tensor sketch, (SIZE / 2 + 1,).

    The sketch of an outer product is the convolution of those of its two vectors: ΔW is not
    formed where its rank is low, and elsewhere by parts.
    """
    lokr = find_lokr(layer)
    if lokr is not None:
        _check_folding(lokr)
    elif layer.rank > MAX_EXACT_RANK:
        return _look_at_parts(name, layer)
    measured = measure_layer(layer)
    assert measured is not None
    if not measured.norm:
        return 0.0, torch.zeros(0)
    if lokr is not None:
        folded, unit = _fold_kronecker(name, form_kronecker(layer))
        return measured.norm, _close(name, folded) * (layer.scale * unit)
    return measured.norm, fold_product(name, *layer.factors(), layer.scale)


def _look_at_parts(name: str, layer: Layer) -> tuple[float, Tensor]:
    buckets, signs = _buckets(name, layer.shape[0])
    energy, folded = 0.0, torch.zeros(SIZE, math.prod(layer.shape[1:]))
    for rows, part in delta_parts(layer):
        energy += part.double().square().sum().item()
        folded.index_add_(0, buckets[rows], part.mul_(signs[rows, None]))
    if not (energy <= LARGEST_NORM**2 and folded.isfinite().all()):
        raise DamagedLayerError("is too large to compute with")
    return math.sqrt(energy), _close(name, folded)


def _check_folding(layer: LokrLayer) -> None:
    """Refuse a Kronecker product whose count sketch takes too long or too much memory."""
    (blocks, _), _ = layer.side_sizes()
    inputs = math.prod(layer.shape[1:])
    if inputs > MOST_INPUTS or blocks * SIZE * inputs > MOST_PRODUCTS:
        raise DamagedLayerError("is wider than any layer of an image model")


def _fold_kronecker(name: str, layer: Kronecker) -> tuple[Tensor, float]:
    """Return the count sketch of the rows of w1 ⊗ w2, (SIZE, inputs), and the unit it is in."""
    blocks, inputs_1, inputs_2 = len(layer.w1), layer.w1.shape[1], layer.w2.shape[1]
    buckets, signs = _buckets(name, len(layer.rows))
    # One side's unit each, so that no product leaves float32.
    units = [side.abs().max().item() or 1.0 for side in (layer.w1, layer.w2)]
    w1, w2 = layer.w1 / units[0], layer.w2 / units[1]
    first, second = layer.rows // len(w2), layer.rows % len(w2)
    folded = torch.zeros(inputs_1, SIZE * inputs_2)
    # Memory is dear: some rows of w1 at a time.
    step = max(1, PART_ENTRIES // (SIZE * inputs_2))
    for start in range(0, blocks, step):
        part = w1[start : start + step]
        chosen = ((first >= start) & (first < start + step)).nonzero()[:, 0]
        by_block = torch.zeros(len(part) * SIZE, inputs_2)
        places = (first[chosen] - start) * SIZE + buckets[chosen]
        by_block.index_add_(0, places, w2[second[chosen]].mul_(signs[chosen, None]))
        folded.addmm_(part.T, by_block.view(len(part), -1))
    by_output = folded.view(inputs_1, SIZE, inputs_2).transpose(0, 1).flatten(1)
    return by_output, units[0] * units[1]


def _close(name: str, folded: Tensor) -> Tensor:
    """Return the transform of a matrix whose rows are folded, (SIZE, inputs)."""
    inputs, units = fold([f"{name} in"], folded[None])
    spectrum: Tensor = (torch.fft.rfft(inputs[0]) * torch.fft.rfft(torch.eye(SIZE))).sum(0)
    return spectrum.to(torch.complex128) * units[0]


def _buckets(seed: str, width: int) -> tuple[Tensor, Tensor]:
    """Return where `fold` adds each of `width` numbers, and its sign; (width,) each."""
    buckets = torch.empty(width, dtype=torch.long)
    buckets[order_of(width)] = torch.arange(width) % SIZE
    return buckets, signs_of(seed, width).float()
