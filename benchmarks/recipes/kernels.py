"""Kernels between adapters that recipes are compared by: which layers count, and how far."""

from collections.abc import Callable

import numpy as np

from benchmarks.recipes.pool import Pool, alignments, layer_grams, weighted
from encoder.arrays import Floats, Ints

# Gives the kernel between all adapters; it may look at the training adapters' targets.
Kernel = Callable[[Pool, Ints, Floats], Floats]

# Outputs of a layer that share a weight, where weights are finer than layers.
PART = 32


def aligned(grams: str, power: float = 1.0) -> Kernel:
    """Layers by their alignment with captions; power 0: all alike, each with what it has."""

    def kernel(pool: Pool, train: Ints, targets: Floats) -> Floats:
        own: Floats = getattr(pool, grams)
        return weighted(own, np.square(alignments(own, targets, train)) ** power)

    return kernel


def learned(grams: str) -> Kernel:
    """Layers by weights with which left-out adapters are found: what is shipped."""

    def kernel(pool: Pool, train: Ints, targets: Floats) -> Floats:
        return weighted(getattr(pool, grams), pool.layer_weights(grams, train))

    return kernel


def by_strength(pool: Pool, train: Ints, targets: Floats) -> Floats:
    """Layers as strong as they are in each adapter, relative to the layer's mean."""
    logs = np.stack([own.log_magnitudes for own in pool.sketches])
    strengths = np.exp(logs - logs[train].mean(axis=0))
    grams = pool.grams * (strengths.T[:, :, None] * strengths.T[:, None, :])
    return weighted(grams, np.square(alignments(grams, targets, train)))


def of_length_one(pool: Pool, train: Ints, targets: Floats) -> Floats:
    """Every layer's sketch of length 1: how much of ΔW the learned inputs catch is left out."""
    lengths: Floats = np.sqrt(np.maximum(pool.grams.diagonal(axis1=1, axis2=2), 1e-12))
    grams = pool.grams / lengths[:, :, None] / lengths[:, None, :]
    return weighted(grams, np.square(alignments(grams, targets, train)))


def by_part(pool: Pool, train: Ints, targets: Floats) -> Floats:
    """A weight for every 32 outputs and each input, instead of one a layer."""
    total = np.zeros((len(pool.features),) * 2, np.float32)
    start = 0
    for rows, inputs in pool.sketches[0].layout.shapes:
        layer = pool.features[:, start : start + rows * inputs].reshape(-1, rows, inputs)
        parts = layer.reshape(len(layer), rows // PART, PART, inputs).swapaxes(2, 3)
        grams = layer_grams(
            np.ascontiguousarray(parts).reshape(len(layer), -1),
            np.full(rows // PART * inputs, PART),
        )
        total += weighted(grams, np.square(alignments(grams, targets, train)))
        start += rows * inputs
    return total


def roots(pool: Pool, train: Ints, targets: Floats) -> Floats:
    """Square roots of the sketch's values: large ones count less."""
    values = np.sign(pool.features) * np.sqrt(np.abs(pool.features))
    grams = layer_grams(values, pool.sketches[0].layout.sizes)
    return weighted(grams, np.square(alignments(grams, targets, train)))


def flattened(pool: Pool, train: Ints, targets: Floats) -> Floats:
    """Every layer's directions partly whitened over the training adapters."""
    grams = np.empty_like(pool.grams)
    for place, gram in enumerate(pool.grams):
        values, vectors = np.linalg.eigh(gram[np.ix_(train, train)])
        strong = values > 1e-5 * values[-1]
        mixed = gram[:, train] @ (vectors[:, strong] / values[strong] ** 0.75)
        grams[place] = mixed @ mixed.T
    return weighted(grams, np.square(alignments(grams, targets, train)))


def curved(shape: Callable[[Floats], Floats], inner: Kernel) -> Kernel:
    """A function of the cosine between whole adapters."""

    def kernel(pool: Pool, train: Ints, targets: Floats) -> Floats:
        return shape(cosine(inner(pool, train, targets)))

    return kernel


def curved_layers(shape: Callable[[Floats], Floats]) -> Kernel:
    """The same function of the cosine in each layer, then summed."""

    def kernel(pool: Pool, train: Ints, targets: Floats) -> Floats:
        grams = np.stack([shape(cosine(gram)) for gram in pool.grams])
        return weighted(grams, np.square(alignments(grams, targets, train)))

    return kernel


def cosine(kernel: Floats) -> Floats:
    lengths: Floats = np.sqrt(np.maximum(kernel.diagonal(), 1e-12))
    found: Floats = kernel / lengths[:, None] / lengths
    return found


def arc_cosine(cosines: Floats) -> Floats:
    """What an infinitely wide layer of ReLUs compares (Cho and Saul, 2009)."""
    angle: Floats = np.arccos(np.clip(cosines, -1, 1))
    found: Floats = (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi
    return found


def summed(*kernels: Kernel) -> Kernel:
    """Kernels of equal energy, summed: one ridge on all their features."""

    def kernel(pool: Pool, train: Ints, targets: Floats) -> Floats:
        parts = [own(pool, train, targets) for own in kernels]
        total: Floats = sum(part / part.diagonal()[train].mean() for part in parts)
        return total

    return kernel


def given(name: str) -> Kernel:
    """A kernel of the pool's as it is."""
    return lambda pool, train, targets: getattr(pool, name)


SKETCHED = learned("grams")
POLYNOMIAL: dict[str, Callable[[Floats], Floats]] = {
    "(1 + cosine)²": lambda cosines: np.square(1 + cosines),
    "exp(cosine)": np.exp,
    "exp(3 cosine)": lambda cosines: np.exp(3 * cosines),
    "arc-cosine": arc_cosine,
}
