"""Matrices in two bits a number."""

import numpy as np
import pytest

from encoder.adapter.two_bit_matrix import TwoBitMatrix

LEVELS = 0.151 * np.array([-10, -3, 3, 10], np.float32)


@pytest.mark.parametrize("shape", [(3, 5), (300, 64), (129, 1000)])
def test_products_are_those_of_the_nearest_levels_by_the_columns_steps(
    shape: tuple[int, int],
) -> None:
    rng = np.random.default_rng(0)
    sizes = np.linspace(0.1, 2, shape[1], dtype=np.float32)
    matrix = rng.normal(size=shape).astype(np.float32) * sizes
    vectors = rng.normal(size=(2, shape[1])).astype(np.float32)

    found = TwoBitMatrix.of(matrix).products(vectors)

    steps = np.sqrt(np.square(matrix).mean(axis=0))
    nearest = np.abs((matrix / steps)[..., None] - LEVELS).argmin(axis=2)
    np.testing.assert_allclose(found, vectors @ (LEVELS[nearest] * steps).T, rtol=1e-3, atol=1e-3)


def test_of_normal_numbers_an_eighth_of_their_energy_is_lost() -> None:
    matrix = np.random.default_rng(0).normal(size=(2000, 8)).astype(np.float32)

    rounded = TwoBitMatrix.of(matrix).products(np.eye(8, dtype=np.float32)).T

    lost = np.square(rounded - matrix).sum() / np.square(matrix).sum()
    assert 0.10 < lost < 0.13


def test_a_column_of_zeros_stays_one() -> None:
    matrix = np.ones((3, 4), np.float32)
    matrix[:, 2] = 0

    assert not TwoBitMatrix.of(matrix).products(np.eye(4, dtype=np.float32))[2].any()


def test_what_is_kept_is_a_quarter_of_a_byte_a_number_and_restored_as_it_was() -> None:
    matrix = TwoBitMatrix.of(np.random.default_rng(0).normal(size=(40, 80)).astype(np.float32))

    again = TwoBitMatrix.restore(matrix.arrays("keys"), "keys")

    assert matrix.packed.nbytes == 40 * 80 / 4
    np.testing.assert_array_equal(again.packed, matrix.packed)
    np.testing.assert_allclose(again.steps, matrix.steps, rtol=1e-3)
