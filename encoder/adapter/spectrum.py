"""How an adapter's change is spread: over blocks, and over directions within its layers.

One pass over the weights tells it (layer_measure.py, product_batch.py), and which layers are zero
and which hold NaN or infinity: the trace of a Gram matrix is the sum of all squares of its factor.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from encoder.adapter.gram import DamagedLayerError, Gram, widen
from encoder.adapter.layer_measure import (
    LARGEST_NORM,
    LayerMeasure,
    check_layer,
    is_product,
    is_quick,
    measure_layer,
)
from encoder.adapter.layers import Factors, Layer, LoraLayer
from encoder.adapter.product_batch import (
    ProductBatch,
    batches,
    is_small,
    measure_batch,
)
from encoder.arrays import Doubles
from encoder.base_models.families import block_of

# The tensors of a layer whose kind has most of them: a LoHa with two Tucker cores.
MOST_TENSORS = 6


class Watcher(Protocol):
    """What else looks at layers while they are in memory."""

    def add(
        self, name: str, layer: Layer, norm: float | None = None, factors: Factors | None = None
    ) -> None:
        """Look at a sound layer.

        Where measuring has told them, `norm` is ||ΔW|| and `factors` are its own in float32
        (float64 of such layers).
        """
        ...

    def add_batch(self, batch: ProductBatch, norms: Doubles) -> None:
        """Look at sound layers of equal shapes; `norms` (layers,) are those of their ΔW, not 0."""
        ...


@dataclass(frozen=True, slots=True)
class BlockSpectrum:
    """What an adapter does to one block of its base model."""

    block: str  # "transformer_blocks.3"
    energy: float  # share of the adapter's ||ΔW||²
    effective_rank: float  # of its layers' ΔW, averaged by energy; 1 to their rank


@dataclass(frozen=True, slots=True)
class Measures:
    """What one pass over an adapter's weights tells."""

    norm: float  # sqrt of the sum of ||ΔW||² over layers
    blocks: tuple[BlockSpectrum, ...]
    zero_layers: tuple[str, ...]
    # Layer -> what is wrong with its numbers; such layers count nowhere else.
    damaged: Mapping[str, str]


# What overflows is told by traces.
@np.errstate(all="ignore")
def measure_layers(
    layers: Mapping[str, Layer],
    release: Callable[[Layer], None] = lambda _: None,
    watchers: Sequence[Watcher] = (),
) -> Measures:
    """Read every layer once: its strength, its effective rank and whether it is sound.

    Of a DoRA, the change of direction is measured. Only checked are weights put in the place
    of the base's, as what they change depends on it, and products of a rank so high that
    measuring would take longer than reading. `watchers` are shown every sound layer, its norm
    exact; `release` is called after each layer.
    """
    measuring = _Measuring(watchers, release)
    small = {
        name: layer
        for name, layer in layers.items()
        if isinstance(layer, LoraLayer) and is_small(layer)
    }
    for batch in batches(small):
        measuring.look_at_batch(batch)
    for name, layer in layers.items():
        if name not in small:
            measuring.look_at(name, layer)
    return measuring.finish(layers)


class _Measuring:
    """What is known of layers so far."""

    def __init__(self, watchers: Sequence[Watcher], release: Callable[[Layer], None]) -> None:
        self._watchers, self._release = watchers, release
        self._measures: dict[str, LayerMeasure] = {}
        self._damaged: dict[str, str] = {}
        # Projections split from a fused one share their down.
        self._known: dict[int, Gram] = {}

    def look_at(self, name: str, layer: Layer) -> None:
        # Formed here, so that they are formed once for all.
        factors = _wide_factors(layer) if self._watchers and is_product(layer) else None
        try:
            if is_quick(layer):
                quick = not self._watchers
                measured = measure_layer(layer, self._known, quick=quick, factors=factors)
            else:
                measured = check_layer(layer)
        except DamagedLayerError as error:
            self._damaged[name] = str(error)
        else:
            if measured is not None:
                self._measures[name] = measured
            for watcher in self._watchers:
                watcher.add(name, layer, None if measured is None else measured.norm, factors)
        self._release(layer)

    def look_at_batch(self, batch: ProductBatch) -> None:
        norms, ranks, known = measure_batch(batch)
        places = known.nonzero()[0].tolist()
        for place in places:
            measured = LayerMeasure(float(norms[place]), float(ranks[place]))
            self._measures[batch.names[place]] = measured
        if places:
            sound = batch.take(places)
            for watcher in self._watchers:
                watcher.add_batch(sound, norms[known])
        for place in (~known).nonzero()[0].tolist():
            self.look_at(batch.names[place], batch.layers[place])
        for place in places:
            self._release(batch.layers[place])

    def finish(self, order: Iterable[str]) -> Measures:
        """Return what was measured, in the order of all layers' names."""
        measures = {name: self._measures[name] for name in order if name in self._measures}
        # Relative to the largest, so that no square overflows.
        most = max((part.norm for part in measures.values()), default=0.0)
        total = sum((part.norm / most) ** 2 for part in measures.values()) if most else 0.0
        return Measures(
            norm=most * math.sqrt(total),
            blocks=_spectra({k: m for k, m in measures.items() if m.norm}, most, total),
            zero_layers=tuple(name for name, part in measures.items() if not part.norm),
            damaged={name: self._damaged[name] for name in order if name in self._damaged},
        )


def is_evidently_sound(layers: Mapping[str, Layer], norm: float) -> bool:
    """Whether `measure_layers` could find no layer damaged, nor all of them zero.

    `norm` is that of all tensors together. It tells at once of most adapters what `measure_layers`
    has to look for: no ΔW is larger than the product of its tensors' norms.
    """
    scale = max((abs(layer.scale) for layer in layers.values()), default=0.0)
    if not scale * max(norm, 1.0) ** MOST_TENSORS <= LARGEST_NORM:
        return False
    looked_at = (
        measure_layer(layer, {}, quick=True) if is_quick(layer) else check_layer(layer)
        for layer in layers.values()
    )
    return any(measured is None or measured.norm for measured in looked_at)


def _wide_factors(layer: Layer) -> Factors:
    down, up = layer.factors()
    return widen(down), widen(up)


def _spectra(
    measures: Mapping[str, LayerMeasure], most: float, total: float
) -> tuple[BlockSpectrum, ...]:
    blocks: dict[str, list[LayerMeasure]] = {}
    for name, part in measures.items():
        blocks.setdefault(block_of(name), []).append(part)
    spectra = []
    for block in sorted(blocks, key=_block_order):
        energies = [(part.norm / most) ** 2 for part in blocks[block]]
        ranks = [part.effective_rank for part in blocks[block]]
        energy = sum(energies)
        # Norms far below the largest have squares that vanish; their block is still there.
        mean = (
            sum(e * r for e, r in zip(energies, ranks, strict=True)) / energy
            if energy
            else sum(ranks) / len(ranks)
        )
        spectra.append(BlockSpectrum(block, energy / total, mean))
    return tuple(spectra)


def _block_order(block: str) -> tuple[str, bool, int]:
    """Blocks by number, FLUX's single ones after its double ones."""
    stem, _, number = block.partition(".")
    return stem.removeprefix("single_"), stem.startswith("single_"), int(number or -1)
