"""Count sketches of factors' rows: what fingerprints are summed from.

Numbers of a row are added up in SIZE buckets with random signs [1]. The buckets are those of the
row's width, the signs those of its layer's name: so the rows of several layers of one width are
folded together.

- [1] Charikar et al., 2002, https://doi.org/10.1016/S0304-3975(03)00400-6
"""

from collections.abc import Sequence
from functools import cache, lru_cache

from encoder.adapter.product_batch import ProductBatch
from encoder.late_torch import Tensor, torch
from encoder.sketches.seeded import random_order, random_signs

# A power of two, for the Fourier transform; estimates of angles are good to 1 / sqrt(SIZE).
SIZE = 256
# Layers of one family have the same signs in every file. Those of FLUX.1 take 6 MB.
MOST_SIGNS, MOST_STACKS = 4096, 256


def fold_product(name: str, down: Tensor, up: Tensor, scale: float) -> Tensor:
    """Return the Fourier transform of the tensor sketch of scale · up · down.

    `down` is (rank, inputs), `up` (outputs, rank), the answer (SIZE / 2 + 1,) complex128.
    """
    scales = torch.tensor([scale], dtype=torch.float64)
    inputs, in_units = fold([f"{name} in"], down[None])
    outputs, out_units = fold([name], up.T[None])
    return _convolve(inputs, outputs, scales * in_units * out_units)


def fold_products(batch: ProductBatch) -> Tensor:
    """Return the sum of the transforms of several layers' tensor sketches.

    Their numbers have squares that float32 holds.
    """
    names = tuple(batch.names)
    inputs, in_units = _fold_measured(tuple(f"{name} in" for name in names), *batch.down_rows())
    outputs, out_units = _fold_measured(names, *batch.up_rows())
    return _convolve(inputs, outputs, torch.from_numpy(batch.scales) * in_units * out_units)


def _convolve(inputs: Tensor, outputs: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted sum of the transforms of layers' outer products.

    `inputs` and `outputs` are (layers, rank, SIZE), `weights` (layers,). The sketch of an outer
    product is the convolution of those of its two vectors, which is a product of their Fourier
    transforms.
    """
    spectra = (torch.fft.rfft(inputs) * torch.fft.rfft(outputs)).sum(1)
    total: Tensor = weights.to(torch.complex128) @ spectra.to(torch.complex128)
    return total


def fold(seeds: Sequence[str], rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return count sketches of rows (layers, count, width), (layers, count, SIZE), and units.

    Units (layers,), in float64, keep numbers that float32 holds, but not their products, in its
    range.
    """
    wide = rows if rows.dtype == torch.float64 else rows.float()
    units = wide.abs().amax((1, 2)).double()
    units[units == 0] = 1.0
    scaled = (wide / units[:, None, None].to(wide.dtype)).float()
    return _fold_rows(scaled, tuple(seeds)), units


def _fold_measured(seeds: tuple[str, ...], rows: Tensor, norms: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `fold` does of rows whose norms (layers,) are known, and their squares held."""
    return _fold_rows(rows, seeds).div_(norms.float()[:, None, None]), norms


def _fold_rows(rows: Tensor, seeds: tuple[str, ...]) -> Tensor:
    """Return count sketches of rows (layers, count, width) as they are."""
    layers, count, width = rows.shape
    signed = rows * _stacked_signs(seeds, width).float()[:, None]
    # In two axes this takes an eighth of the time that it takes in three.
    mixed = signed.view(-1, width).index_select(1, order_of(width))
    whole = width // SIZE * SIZE
    folded: Tensor = mixed[:, :whole].unflatten(1, (-1, SIZE)).sum(1)
    folded[:, : width - whole] += mixed[:, whole:]
    return folded.view(layers, count, SIZE)


# Layers that are folded together in one file are in the next.
@lru_cache(maxsize=MOST_STACKS)
def _stacked_signs(seeds: tuple[str, ...], width: int) -> Tensor:
    """Return the signs of several layers' rows, (layers, width)."""
    return torch.stack([signs_of(seed, width) for seed in seeds])


@lru_cache(maxsize=MOST_SIGNS)
def signs_of(seed: str, width: int) -> Tensor:
    """Return the signs of a row's numbers, ±1 as bytes, (width,)."""
    return torch.from_numpy(random_signs(seed, width)).to(torch.int8)


@cache
def order_of(width: int) -> Tensor:
    """Return the order in which a row's numbers go round the buckets, (width,)."""
    return torch.from_numpy(random_order(f"fingerprint {width}", width))
