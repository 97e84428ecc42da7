"""Learned directions of a family's changes."""

from pathlib import Path

import torch

from encoder.base_models import find_family
from encoder.basis import Basis, find_basis, fit_basis, leading, sum_inputs, sum_outputs
from encoder.lora_file import LoraLayer, LoraWeights, read
from encoder.sketch import DEFAULT_SIZE, sketch
from tests.encoder.builders import TINY, make_factors, write_adapter


def make_adapter(folder: Path, seed: int) -> LoraWeights:
    return read(write_adapter(folder / f"{seed}.safetensors", make_factors(seed)))


def test_sums_through_the_factors_are_those_of_the_changes() -> None:
    torch.manual_seed(0)
    layers = [LoraLayer(torch.randn(2, 5), torch.randn(7, 2), 0.5) for _ in range(3)]
    deltas = [layer.scale * layer.up @ layer.down for layer in layers]

    torch.testing.assert_close(sum_outputs(layers), sum(d @ d.T for d in deltas))
    torch.testing.assert_close(sum_inputs(layers), sum(d.T @ d for d in deltas))


def test_leading_directions_come_largest_first() -> None:
    rows = leading(torch.diag(torch.tensor([1.0, 9.0, 4.0])), 2)

    torch.testing.assert_close(rows.abs(), torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))


def test_a_basis_keeps_all_of_the_adapters_it_was_fitted_to(tmp_path: Path) -> None:
    """Two adapters of low rank span few directions, so a small basis loses nothing of them."""
    adapters = [make_adapter(tmp_path, seed) for seed in (1, 2)]
    basis = fit_basis(TINY, adapters, 24)
    for index, name in enumerate(TINY.block_layers):
        layer = adapters[0].layers[name]
        delta = layer.scale * layer.up.float() @ layer.down.float()
        inside = basis.left[index] @ delta @ basis.right[index].T
        torch.testing.assert_close(inside.norm(), delta.norm(), rtol=1e-4, atol=0)


def test_a_saved_basis_has_its_two_matrices_a_layer(tmp_path: Path) -> None:
    basis = Basis([torch.eye(3)], [torch.eye(3)])
    basis.save(tmp_path / "a/basis.safetensors")
    assert (tmp_path / "a/basis.safetensors").stat().st_size > 36


def test_the_shipped_basis_is_orthonormal_and_names_its_sketches(tmp_path: Path) -> None:
    family = find_family("demo-flux-tiny")
    assert family is not None
    basis = find_basis(family.name, DEFAULT_SIZE)
    assert basis is not None
    assert len(basis.left) == len(basis.right) == len(family.block_layers)
    for rows in (*basis.left, *basis.right):
        torch.testing.assert_close(rows @ rows.T, torch.eye(DEFAULT_SIZE), atol=2e-3, rtol=0)
    found = sketch(make_adapter(tmp_path, 1))
    assert (found.version, found.values.shape[1:]) == ("basis-24-v1", (24, 24))


def test_a_family_without_a_basis_is_sketched_by_random_matrices() -> None:
    assert find_basis("flux.1", DEFAULT_SIZE) is None
