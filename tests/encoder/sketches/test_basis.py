"""The inputs that a family's adapters listen to."""

from pathlib import Path

import pytest
import torch

from encoder.adapter.layers import LoraLayer
from encoder.adapter.lora_file import LoraWeights, read
from encoder.errors import SketchError
from encoder.sketches.basis import DIRECTIONS, Basis, find_basis, fit_basis, leading, sum_inputs
from tests.encoder.builders import TINY, make_factors, write_adapter


def make_adapter(folder: Path, seed: int, names: list[str] | None = None) -> LoraWeights:
    return read(write_adapter(folder / f"{seed}.safetensors", make_factors(seed, names=names)))


def test_sums_through_the_factors_are_those_of_the_changes() -> None:
    """Each adapter counts once, however strongly it was trained."""
    torch.manual_seed(0)
    layers = [LoraLayer(torch.randn(2, 5), torch.randn(7, 2), 10.0**k) for k in range(3)]
    units = [layer.delta() / layer.delta().norm() for layer in layers]

    torch.testing.assert_close(sum_inputs(layers), sum(unit.T @ unit for unit in units))


def test_leading_directions_come_largest_first() -> None:
    rows = leading(torch.diag(torch.tensor([1.0, 9.0, 4.0])), 2)

    torch.testing.assert_close(rows.abs(), torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))


def test_a_basis_keeps_all_of_the_adapters_it_was_fitted_to(tmp_path: Path) -> None:
    """Two adapters of rank 2 listen to four directions, so four lose nothing of them."""
    adapters = [make_adapter(tmp_path, seed) for seed in (1, 2)]
    basis = fit_basis(TINY, adapters, 4)
    for index, name in enumerate(TINY.block_layers):
        delta = adapters[0].layers[name].delta()
        kept = delta @ basis.inputs[index].float().T
        torch.testing.assert_close(kept.norm(), delta.norm(), rtol=1e-3, atol=0)


def test_a_layer_that_no_adapter_changes_is_named(tmp_path: Path) -> None:
    names = list(TINY.block_layers)[1:]
    with pytest.raises(SketchError, match="no adapter changes layer transformer_blocks"):
        fit_basis(TINY, [make_adapter(tmp_path, 1, names)])


def test_a_loaded_basis_is_the_saved_one(tmp_path: Path) -> None:
    """Its name is its content's, so sketches made before and after compare."""
    basis = fit_basis(TINY, [make_adapter(tmp_path, 1)])
    basis.save(tmp_path / "a/basis.safetensors")

    assert Basis.load(tmp_path / "a/basis.safetensors").version == basis.version
    assert basis.version != fit_basis(TINY, [make_adapter(tmp_path, 2)]).version


def test_the_shipped_basis_is_orthonormal() -> None:
    basis = find_basis(TINY.name)
    assert basis is not None
    assert len(basis.inputs) == len(TINY.block_layers)
    for rows in basis.inputs:
        own = rows.float() @ rows.float().T
        torch.testing.assert_close(own, torch.eye(DIRECTIONS), atol=2e-3, rtol=0)


def test_a_family_without_a_basis_has_none() -> None:
    assert find_basis("flux.1") is None
