"""Matrices in one bit a number."""

import numpy as np
import pytest

from encoder.adapter.bit_matrix import BitMatrix


@pytest.mark.parametrize("shape", [(3, 5), (300, 64), (129, 1000)])
def test_products_are_those_of_the_signs_by_the_columns_steps(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=shape).astype(np.float32) * np.linspace(0.1, 2, shape[1])
    vectors = rng.normal(size=(2, shape[1])).astype(np.float32)

    found = BitMatrix.of(matrix).products(vectors)

    steps = np.sqrt(np.square(matrix).mean(axis=0))
    np.testing.assert_allclose(found, vectors @ (np.sign(matrix) * steps).T, rtol=1e-3, atol=1e-3)


def test_what_is_kept_is_an_eighth_of_a_byte_a_number_and_restored_as_it_was() -> None:
    matrix = BitMatrix.of(np.random.default_rng(0).normal(size=(40, 80)).astype(np.float32))

    again = BitMatrix.restore(matrix.arrays("keys"), "keys")

    assert matrix.packed.nbytes == 40 * 80 / 8
    np.testing.assert_array_equal(again.packed, matrix.packed)
    np.testing.assert_allclose(again.steps, matrix.steps, rtol=1e-3)
