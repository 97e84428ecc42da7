"""Whitening by gradients, in the kernel."""

import numpy as np

from benchmarks.wide.concepts import Whitener, unit_layers
from encoder.text_encoder import normalise


def test_whitening_in_the_kernel_is_that_by_the_covariance() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(9, 20)).astype(np.float32) * np.linspace(0.2, 3, 20, dtype=np.float32)
    own = rng.normal(size=(4, 20)).astype(np.float32)

    whitened = Whitener.fit(rows, damping=0.5).apply(own)

    centred = (rows - rows.mean(axis=0)).astype(np.float64)
    scatter = centred.T @ centred
    damped = scatter + 0.5 * np.trace(scatter) / len(rows) * np.eye(20)
    energies, axes = np.linalg.eigh(damped)
    expected = own @ (axes / np.sqrt(energies)) @ axes.T
    np.testing.assert_allclose(whitened, normalise(expected.astype(np.float32)), atol=2e-4)


def test_every_layer_counts_alike() -> None:
    values = np.array([[3, 4, 0.5], [0, 0, -2]], np.float32)

    scaled = unit_layers(values, np.array([2, 1]))

    np.testing.assert_allclose(scaled, [[0.6, 0.8, 1.0], [0.0, 0.0, -1.0]], atol=1e-6)
