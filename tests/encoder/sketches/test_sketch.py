import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from encoder.adapter.lora_file import LoraWeights, read
from encoder.base_models.families import FAMILIES, Family, find_family
from encoder.errors import BadWeightsError, SketchError
from encoder.sketches.basis import Basis, find_basis
from encoder.sketches.sketch import (
    MOST_BYTES,
    SKETCH_VERSION,
    Layout,
    Sketch,
    _output_signs,
    default_layout,
    delta_norm,
    layout_of,
    sketch,
    sketch_file,
)
from tests.encoder.builders import TINY, Factors, make_factors, write_adapter, write_tensors

# What the first build of this version gave.
PINNED = [0.02580, -0.00212]
SHIPPED_BASIS = "basis-855fb970"


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
    for layer, is_there in zip(found.layers(), found.mask, strict=True):
        assert bool(layer.any()) == is_there
    assert not found.features()[~found.mask.repeat(found.layout.sizes)].any()


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

    # Only random directions are unbiased.
    features = np.stack([sketch(adapter, inputs=64).features() for adapter in adapters])

    assert exact.min() > 0.4 * exact.max()
    assert np.abs(features @ features.T - exact).max() < 0.06 * exact.max()


def test_the_norm_is_that_of_the_formed_change(tmp_path: Path) -> None:
    for layer in load(tmp_path, make_factors(rank=4)).layers.values():
        assert delta_norm(layer) == pytest.approx(layer.delta().norm().item(), rel=1e-5)


def test_stored_sketches_stay_comparable(tmp_path: Path) -> None:
    """Sketches are kept for good: other projections or another basis need another version."""
    random = sketch(load(tmp_path, make_factors()), inputs=4, most_bytes=40_000)
    own = sketch(load(tmp_path, make_factors()))

    assert (random.version, own.version) == ("random-4x96-v1", SHIPPED_BASIS)
    # To be changed together, or files read before are not read again.
    assert SKETCH_VERSION == "sketch-v3"
    layers = random.layers()
    magnitudes = np.exp(random.log_magnitudes)
    found = [layers[0][0, 1] * magnitudes[0], layers[30][5, 3] * magnitudes[30]]
    np.testing.assert_allclose(found, PINNED, rtol=0, atol=1e-4)


def test_a_basis_keeps_all_outputs_of_a_small_base(tmp_path: Path) -> None:
    """S = ΔW Rᵀ, for the R that is shipped."""
    weights = load(tmp_path, make_factors())
    basis = find_basis(TINY.name)
    assert basis is not None
    found = sketch(weights)
    for index, name in enumerate(TINY.block_layers):
        delta = weights.layers[name].delta()
        slow = (delta / delta.norm()) @ basis.inputs[index].float().T
        np.testing.assert_allclose(found.layers()[index], slow, atol=1e-3)


def test_a_large_base_keeps_what_a_megabyte_holds() -> None:
    """FLUX.1 has three million outputs; the sketches of a million adapters must fit a disk."""
    flux = find_family("flux.1")
    assert flux is not None
    directions = [torch.eye(2, d_in).half() for _, d_in in flux.block_layers.values()]
    layout = layout_of(flux, Basis(directions))

    assert 500_000 < 2 * layout.sizes.sum() <= 1_000_000


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_no_family_s_sketches_are_larger_than_a_megabyte(family: Family) -> None:
    """Whatever its layers; and none is so small that nothing could be found by it."""
    layout = default_layout(family)

    assert 50_000 < 2 * layout.sizes.sum() <= MOST_BYTES
    assert all(rows <= d_out for (rows, _), (d_out, _) in zip(
        layout.shapes, family.block_layers.values(), strict=True
    ))  # fmt: skip


def test_outputs_are_added_up_in_groups_with_signs(tmp_path: Path) -> None:
    """What is over the bytes allowed is folded: inner products are kept on average."""
    weights = load(tmp_path, make_factors())
    whole, folded = sketch(weights, inputs=4), sketch(weights, inputs=4, most_bytes=40_000)
    for index, (full, part) in enumerate(zip(whole.layers(), folded.layers(), strict=True)):
        signs = _output_signs(TINY.name, index, len(full))
        slow = np.zeros_like(part, np.float32)
        for row, (sign, values) in enumerate(zip(signs, full, strict=True)):
            slow[row % len(part)] += sign * values.astype(np.float32)
        if len(part) < len(full):
            np.testing.assert_allclose(part, slow, atol=5e-3)


def test_bytes_round_trip(tmp_path: Path) -> None:
    names = list(TINY.block_layers)[3:]
    made = sketch(load(tmp_path, make_factors(names=names)))

    read_back = Sketch.from_bytes(made.to_bytes())

    assert (read_back.layout, read_back.family) == (made.layout, made.family)
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
    assert len(read_back.layers()) == len(read_back.mask) == len(read_back.log_magnitudes)
    assert len(read_back.features()) == read_back.layout.sizes.sum()


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_sketch_of_impossible_numbers_is_damaged(value: float) -> None:
    """They would spread into embeddings, and rank anything first."""
    values = np.full_like(SMALL_SKETCH.values, value)
    with pytest.raises(SketchError):
        Sketch.from_bytes(dataclasses.replace(SMALL_SKETCH, values=values).to_bytes())
    magnitudes = np.full_like(SMALL_SKETCH.log_magnitudes, value)
    with pytest.raises(SketchError):
        Sketch.from_bytes(dataclasses.replace(SMALL_SKETCH, log_magnitudes=magnitudes).to_bytes())


SMALL_SKETCH = Sketch(
    Layout("random-2x2-v1", ((2, 2), (1, 3), (2, 2))),
    "demo-flux-tiny",
    np.ones(11, np.float16),
    np.zeros(3, np.float32),
    np.array([True, False, True]),
)


def test_dora_has_no_sketch_without_the_base(tmp_path: Path) -> None:
    """Such an adapter is found by its words and pictures, and nothing of it is guessed."""
    (name, (down, up)) = next(iter(make_factors().items()))
    stem = f"transformer.{name}"
    tensors = {
        f"{stem}.lora_A.weight": down,
        f"{stem}.lora_B.weight": up,
        f"{stem}.lora_magnitude_vector": torch.ones(len(up)),
    }
    weights = read(write_tensors(tmp_path / "a.safetensors", tensors))

    with pytest.raises(SketchError, match="depends on the base's weight"):
        sketch(weights)
    with pytest.raises(SketchError, match=r"^a\.safetensors: .* depends on the base's weight"):
        sketch_file(tmp_path / "a.safetensors")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_one_pass_over_a_file_gives_the_sketch_of_two(tmp_path: Path, dtype: torch.dtype) -> None:
    factors = make_factors(rank=3, names=list(TINY.block_layers)[4:])
    path = write_adapter(tmp_path / "a.safetensors", factors, dtype=dtype)

    one, two = sketch_file(path), sketch(read(path))

    np.testing.assert_array_equal(one.mask, two.mask)
    np.testing.assert_allclose(one.values, two.values, atol=1e-3)
    np.testing.assert_allclose(one.log_magnitudes, two.log_magnitudes, atol=1e-5)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_file_with_one_bad_number_has_no_sketch(tmp_path: Path, value: float) -> None:
    factors = make_factors()
    factors[list(factors)[7]][1][-1, -1] = value

    with pytest.raises(BadWeightsError, match="NaN or infinity"):
        sketch_file(write_adapter(tmp_path / "a.safetensors", factors))


def test_factors_that_overflow_on_the_way_have_no_sketch(tmp_path: Path) -> None:
    """ΔW is moderate; what is computed before its second factor comes in is not."""
    factors = {name: (a.sign() * 3e38, b * 1e-38) for name, (a, b) in make_factors().items()}
    weights = load(tmp_path, factors)

    with pytest.raises(SketchError, match="too large to compute with"):
        sketch(weights, inputs=4)


def test_a_layer_too_faint_for_a_sketch_counts_as_none(tmp_path: Path) -> None:
    names = list(TINY.block_layers)[:2]
    factors = make_factors(names=names)
    down, up = factors[names[0]]
    factors[names[0]] = (1e-25 * down, 1e-25 * up)
    path = write_adapter(tmp_path / "a.safetensors", factors, dtype=torch.float32)

    for made in (sketch_file(path), sketch(read(path))):
        assert made.mask[:2].tolist() == [False, True]
        assert Sketch.from_bytes(made.to_bytes()).mask.tolist() == made.mask.tolist()


@pytest.mark.parametrize("name", ["sd-1.5", "sdxl-1.0"])
def test_layers_sketched_together_or_alone_give_the_same(tmp_path: Path, name: str) -> None:
    """In random inputs too, and where outputs are added up in groups."""
    family = find_family(name)
    assert family is not None
    some = [layer for layer in family.block_layers if ".attentions.0." in layer]
    factors = make_factors(3, rank=2, names=some, family=family)
    path = write_adapter(tmp_path / "a.safetensors", factors, prefix="unet.", metadata={})

    together, alone = sketch_file(path), sketch(read(path))

    assert together.mask.sum() == len(some)
    assert (together.mask == alone.mask).all()
    np.testing.assert_allclose(together.log_magnitudes, alone.log_magnitudes, rtol=1e-5)
    np.testing.assert_allclose(together.features(), alone.features(), rtol=2e-3, atol=1e-5)
