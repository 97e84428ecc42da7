"""The wide zoo's adapters are taken as the encoder takes them."""

from pathlib import Path

import numpy as np
import torch

from benchmarks.recipes.pool import LeaveOneOutRidge
from benchmarks.wide.networks import PARTS, cut
from benchmarks.wide.recipes import variances
from benchmarks.wide.zoo import sketch_in
from encoder.adapter.layers import LoraLayer
from encoder.adapter.lora_file import read
from encoder.base_models.families import find_family
from encoder.sketches.basis import find_basis
from encoder.sketches.sketch import default_layout, sketch
from tests.encoder.builders import make_factors, write_adapter


def test_sketches_are_those_of_the_encoder(tmp_path: Path) -> None:
    family = find_family("demo-flux-tiny")
    assert family is not None
    basis = find_basis(family.name)
    assert basis is not None
    names = list(family.block_layers)[3:9]
    weights = read(write_adapter(tmp_path / "a.safetensors", make_factors(seed=1, names=names)))

    found = sketch_in(family, basis, default_layout(family), weights)

    wanted = sketch(weights)
    assert (found.mask == wanted.mask).all()
    np.testing.assert_allclose(found.log_magnitudes, wanted.log_magnitudes, atol=1e-4)
    np.testing.assert_allclose(found.values, wanted.values, atol=2e-3)


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
