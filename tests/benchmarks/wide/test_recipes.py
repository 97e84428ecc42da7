"""Encoders fitted on the wide zoo."""

import numpy as np
import torch

from benchmarks.recipes.pool import LeaveOneOutRidge
from benchmarks.wide.networks import PARTS, cut
from benchmarks.wide.recipes import variances
from encoder.adapter.layers import LoraLayer


def test_a_change_of_few_parts_is_cut_to_itself() -> None:
    layer = LoraLayer(torch.randn(4, 20), torch.randn(30, 4), 0.5)
    torch.testing.assert_close(cut(layer).delta(), layer.delta(), rtol=1e-4, atol=1e-4)


def test_of_many_parts_the_strongest_stay() -> None:
    layer = LoraLayer(torch.randn(16, 20), torch.randn(30, 16), 1.0)
    kept, whole = cut(layer), layer.delta()
    strengths = torch.linalg.svdvals(whole)
    assert kept.rank == PARTS
    lost = (whole - kept.delta()).square().sum()
    torch.testing.assert_close(lost, strengths[PARTS:].square().sum(), rtol=1e-3, atol=1e-3)


def test_what_is_far_from_all_training_adapters_is_unsure() -> None:
    rng = np.random.default_rng(0)
    train = np.arange(20)
    features = rng.standard_normal((22, 8)).astype(np.float32)
    features[20] = features[3]
    features[21] *= 10
    kernel = features @ features.T
    targets = rng.standard_normal((20, 4)).astype(np.float32)
    ridge = LeaveOneOutRidge(kernel[np.ix_(train, train)], targets - targets.mean(axis=0))

    found = variances(kernel, train, ridge, 0.1)

    np.testing.assert_allclose(found[20], found[3], rtol=1e-3)
    assert (found > 0).all()
    assert found[21] > found[:20].max()
