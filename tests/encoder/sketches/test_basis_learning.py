"""A basis learned in passes over files is nearly the one of all of them together."""

from pathlib import Path

import numpy as np
import torch

from encoder.adapter.lora_file import read
from encoder.sketches.basis import Basis, fit_basis
from encoder.sketches.basis_learning import learn_basis
from encoder.sketches.sketch import sketch
from tests.encoder.builders import TINY, make_factors, write_adapter


def write_zoo(folder: Path, count: int) -> list[Path]:
    """Write adapters of rank 2 that share one input direction a layer, as those of a base do."""
    shared = {
        name: torch.randn(width, generator=torch.Generator().manual_seed(index))
        for index, (name, (_, width)) in enumerate(TINY.block_layers.items())
    }
    paths = []
    for seed in range(count):
        factors = make_factors(seed)
        for name, (down, _, *_) in factors.items():
            down[0] += 2 * shared[name].to(down.dtype) * down.norm() / shared[name].norm()
        paths.append(write_adapter(folder / f"{seed}.safetensors", factors))
    return paths


def agreement(one: Basis, other: Basis, directions: int) -> float:
    """Return the smallest cosine between the layers' leading directions."""
    return min(
        float(torch.linalg.svdvals(a[:directions].float() @ b[:directions].float().T)[-1])
        for a, b in zip(one.inputs, other.inputs, strict=True)
    )


def test_the_leading_directions_are_found_without_all_adapters_in_memory(tmp_path: Path) -> None:
    paths = write_zoo(tmp_path, 12)

    learned = learn_basis(TINY, paths)

    exact = fit_basis(TINY, [read(path) for path in paths])
    assert agreement(learned, exact, 1) > 0.99
    for rows in learned.inputs:
        torch.testing.assert_close(rows.float() @ rows.float().T, torch.eye(2), atol=2e-3, rtol=0)


def test_files_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    paths = write_zoo(tmp_path, 3)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"<html>")

    assert learn_basis(TINY, [broken, *paths]).version == learn_basis(TINY, paths).version


def test_layers_that_nobody_changes_have_directions_too(tmp_path: Path) -> None:
    names = list(TINY.block_layers)[:1]
    path = write_adapter(tmp_path / "one.safetensors", make_factors(1, names=names))

    basis = learn_basis(TINY, [path])

    made = sketch(read(path), basis=basis)
    assert made.version == basis.version
    assert np.isfinite(made.values).all()
    assert all(rows.isfinite().all() for rows in basis.inputs)
