import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from encoder.errors import SketchError
from encoder.lora_file import LoraWeights, read
from encoder.sketch import SKETCH_VERSION, Sketch, delta_norm, sketch
from tests.encoder.builders import TINY, Factors, make_factors, write_adapter, write_tensors

# By the first build of this version.
PINNED = [0.43099, -0.03521]


def load(folder: Path, factors: Factors, dtype: torch.dtype = torch.float32) -> LoraWeights:
    return read(write_adapter(folder / "adapter.safetensors", factors, dtype=dtype))


def distance(left: Sketch, right: Sketch) -> float:
    """How far apart two adapters are, relative to their size."""
    a, b = left.features(), right.features()
    return float(np.linalg.norm(a - b) / np.linalg.norm(a))


def test_a_sketch_does_not_depend_on_the_factorisation(tmp_path: Path) -> None:
    """A -> RA, B -> BR⁻¹ leaves ΔW as it is, and so must leave what we know of it."""
    factors = make_factors(rank=3)
    basis = torch.randn(3, 3, generator=torch.Generator().manual_seed(9))
    other = {n: (basis @ a, b @ torch.linalg.inv(basis)) for n, (a, b) in factors.items()}

    assert distance(sketch(load(tmp_path, factors)), sketch(load(tmp_path, other))) < 1e-3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_cast_moves_a_sketch_by_its_rounding_only(tmp_path: Path, dtype: torch.dtype) -> None:
    exact = sketch(load(tmp_path, make_factors()))
    cast = sketch(load(tmp_path, make_factors(), dtype))

    assert distance(exact, cast) < (1e-3 if dtype == torch.float16 else 8e-3)


def test_alpha_folded_into_the_weights_is_the_same_adapter(tmp_path: Path) -> None:
    name = "single_transformer_blocks.0.proj_mlp"
    down, up = make_factors(names=[name])[name]
    stem = f"transformer.{name}"
    with_alpha = {
        f"{stem}.lora_A.weight": down,
        f"{stem}.lora_B.weight": up,
        f"{stem}.alpha": torch.tensor(8.0),
    }
    folded = {f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": 4 * up}

    first = sketch(read(write_tensors(tmp_path / "a.safetensors", with_alpha)))
    second = sketch(read(write_tensors(tmp_path / "b.safetensors", folded)))

    assert distance(first, second) < 1e-3
    np.testing.assert_array_equal(first.mask, second.mask)


def test_the_order_of_layers_in_a_file_does_not_matter(tmp_path: Path) -> None:
    weights = load(tmp_path, make_factors())
    turned = dataclasses.replace(weights, layers=dict(reversed(weights.layers.items())))

    assert sketch(weights).to_bytes() == sketch(turned).to_bytes()


def test_a_strength_of_any_size_survives_float16(tmp_path: Path) -> None:
    """ΔW of 1e-7 would be zero in float16, and one of 1e6 infinite."""
    plain = sketch(load(tmp_path, make_factors()))
    for factor in (1e-6, 1e6):
        scaled = {name: (a, b * factor) for name, (a, b) in make_factors().items()}
        other = sketch(load(tmp_path, scaled))
        np.testing.assert_allclose(other.values, plain.values, atol=1e-3)
        np.testing.assert_allclose(
            other.log_magnitudes, plain.log_magnitudes + np.log(factor), atol=1e-4
        )


def test_missing_and_zero_layers_are_masked(tmp_path: Path) -> None:
    names = list(TINY.block_layers)
    factors = make_factors(names=names[10:])
    down, up = factors[names[20]]
    factors[names[20]] = (down, torch.zeros_like(up))

    found = sketch(load(tmp_path, factors))

    expected = [index >= 10 and index != 20 for index in range(len(names))]
    assert found.mask.tolist() == expected
    assert not found.values[~found.mask].any()
    assert not found.features()[~found.mask].any()


def test_an_adapter_that_changes_nothing_is_refused(tmp_path: Path) -> None:
    """Its embedding would be the mean of all: found by many queries, right for none."""
    zero = {name: (a, torch.zeros_like(b)) for name, (a, b) in make_factors().items()}
    weights = load(tmp_path, zero)

    assert len(weights.verdict.zero_layers) == len(TINY.block_layers)
    assert not weights.verdict.fusable
    with pytest.raises(SketchError, match="changes no block layer"):
        sketch(weights)


def test_an_unknown_base_model_is_refused(tmp_path: Path) -> None:
    weights = dataclasses.replace(load(tmp_path, make_factors()), base_model="unknown")

    with pytest.raises(SketchError, match="'unknown'"):
        sketch(weights)


def test_inner_products_of_sketches_estimate_those_of_the_changes(tmp_path: Path) -> None:
    """What a kernel method sees through sketches is what it would see in ΔW."""
    # Half of each change is common to all, so that there is something to estimate.
    shared = make_factors(99)
    adapters = []
    for seed in range(4):
        factors = {
            name: (torch.cat([down, shared[name][0]]), torch.cat([up, shared[name][1]], dim=1))
            for name, (down, up) in make_factors(seed).items()
        }
        adapters.append(load(tmp_path, factors))
    deltas = torch.stack(
        [torch.cat([a.layers[n].delta().flatten() for n in TINY.block_layers]) for a in adapters]
    )
    exact = (deltas @ deltas.T).numpy()

    # At a size without a learned basis: only random projections are unbiased.
    features = np.stack([sketch(adapter, size=16).features().ravel() for adapter in adapters])

    assert exact.min() > 0.4 * exact.max()
    assert np.abs(features @ features.T - exact).max() < 0.06 * exact.max()


def test_the_norm_is_that_of_the_formed_change(tmp_path: Path) -> None:
    for layer in load(tmp_path, make_factors(rank=4)).layers.values():
        assert delta_norm(layer) == pytest.approx(layer.delta().norm().item(), rel=1e-5)


def test_the_projections_never_change(tmp_path: Path) -> None:
    """Sketches are stored for good: other projections need another version."""
    found = sketch(load(tmp_path, make_factors()), size=16)

    assert (found.version, SKETCH_VERSION) == ("bilinear-16-v1", "sketch-24-v1")
    np.testing.assert_allclose(found.features()[[0, 30], [0, 5], [1, 7]], PINNED, rtol=0, atol=1e-3)


def test_bytes_round_trip(tmp_path: Path) -> None:
    names = list(TINY.block_layers)[3:]
    made = sketch(load(tmp_path, make_factors(names=names)))

    read_back = Sketch.from_bytes(made.to_bytes())

    assert (read_back.version, read_back.family) == (made.version, made.family)
    for field in ("values", "log_magnitudes", "mask"):
        np.testing.assert_array_equal(getattr(read_back, field), getattr(made, field))
    assert read_back.to_bytes() == made.to_bytes()


@given(st.data())
def test_damaged_bytes_are_a_sketch_error_or_a_whole_sketch(data: st.DataObject) -> None:
    """Bytes come from a database that others write to as well."""
    made = SMALL_SKETCH.to_bytes()
    position = data.draw(st.integers(0, len(made) - 1))
    damaged = made[:position] + data.draw(st.binary(max_size=8)) + made[position + 4 :]
    try:
        read_back = Sketch.from_bytes(damaged)
    except SketchError:
        return
    assert len(read_back.values) == len(read_back.mask) == len(read_back.log_magnitudes)


SMALL_SKETCH = Sketch(
    "bilinear-2-v1",
    "demo-flux-tiny",
    np.ones((3, 2, 2), np.float16),
    np.zeros(3, np.float32),
    np.array([True, False, True]),
)
