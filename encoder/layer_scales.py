"""How much each layer says of an adapter's subject."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from encoder.errors import TrainingDataError
from encoder.ridge import Centring
from encoder.sketch import Sketch

Floats = npt.NDArray[np.float32]


def fit_layer_scales(sketches: Sequence[Sketch], targets: Floats) -> Floats:
    """Return a scale for every layer, by how far adapters alike in it have like captions.

    The alignment [1] of the layer's Gram matrix with that of the targets (n, dim), the
    diagonals left out: a layer weighs its square, so its features the alignment itself.

    - [1] Cortes et al., 2012, https://jmlr.org/papers/v13/cortes12a.html
    """
    layout = sketches[0].layout
    stops = np.cumsum(layout.sizes)
    wanted = without_diagonal(targets @ targets.T)
    scales = np.zeros(len(stops), np.float32)
    for layer, (stop, size) in enumerate(zip(stops, layout.sizes, strict=True)):
        values = np.stack([s.values[stop - size : stop] for s in sketches]).astype(np.float32)
        gram = values @ values.T
        centred = without_diagonal(Centring.of(gram).apply(gram))
        # A layer that no adapter has stays silent.
        length = np.linalg.norm(centred)
        scales[layer] = max(0.0, (centred * wanted).sum() / length) if length > 0 else 0.0
    if not scales.any():
        raise TrainingDataError("no layer has anything to do with the captions")
    return scales / np.float32(np.sqrt(np.square(scales).mean()))


def without_diagonal(square: Floats) -> Floats:
    """Return a copy whose diagonal is zero."""
    copied: Floats = square - np.diag(np.diag(square))
    return copied
