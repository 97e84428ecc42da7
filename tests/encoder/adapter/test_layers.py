"""Every kind of layer, against the definition that its trainer computes with.

The definitions are written out slowly, from LyCORIS' `rebuild_tucker`, `make_kron` and
`apply_weight_decompose`, and from PEFT's `DoraLinearLayer`.
"""

import pytest
import torch
from torch import Tensor

from encoder.adapter.layer_cuts import cut_rows, is_same_change, swap_halves
from encoder.adapter.layers import (
    DenseLayer,
    DoraLayer,
    Layer,
    LohaLayer,
    LokrLayer,
    LoraLayer,
    ReplacedLayer,
    form_delta,
)
from encoder.errors import BaseWeightNeededError


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def tucker(core: Tensor, outputs: Tensor, inputs: Tensor) -> Tensor:
    """LyCORIS: rebuild_tucker."""
    return torch.einsum("ij...,ip,jr->pr...", core, outputs, inputs)


def lora() -> tuple[Layer, Tensor]:
    down, up = draw(3, 7), draw(10, 3)
    return LoraLayer(down, up, 0.5), 0.5 * up @ down


def locon() -> tuple[Layer, Tensor]:
    down, up = draw(3, 4, 3, 3), draw(10, 3, 1, 1)
    return LoraLayer(down, up, 0.5), 0.5 * torch.einsum("orxy,rchw->ochw", up, down)


def locon_tucker() -> tuple[Layer, Tensor]:
    down, mid, up = draw(3, 4, 1, 1), draw(3, 3, 3, 3), draw(10, 3, 1, 1)
    expected = 2 * tucker(mid, up.flatten(1).T, down.flatten(1))
    return LoraLayer(down, up, 2, mid), expected


def loha() -> tuple[Layer, Tensor]:
    a, b, c, d = draw(10, 3), draw(3, 7), draw(10, 3), draw(3, 7)
    return LohaLayer(a, b, c, d, 0.25), 0.25 * (a @ b) * (c @ d)


def loha_flat_convolution() -> tuple[Layer, Tensor]:
    a, b, c, d = draw(10, 3), draw(3, 36), draw(10, 3), draw(3, 36)
    layer = LohaLayer(a, b, c, d, 1.0, kernel=(3, 3))
    return layer, ((a @ b) * (c @ d)).reshape(10, 4, 3, 3)


def loha_tucker() -> tuple[Layer, Tensor]:
    a, b, c, d = draw(3, 10), draw(3, 4), draw(3, 10), draw(3, 4)
    core_1, core_2 = draw(3, 3, 3, 3), draw(3, 3, 3, 3)
    layer = LohaLayer(a, b, c, d, 0.5, core_1, core_2)
    return layer, 0.5 * tucker(core_1, a, b) * tucker(core_2, c, d)


def lokr_full() -> tuple[Layer, Tensor]:
    w1, w2 = draw(2, 3), draw(5, 4)
    return LokrLayer((w1,), (w2,), 1.0), torch.kron(w1, w2)


def lokr_full_crossed() -> tuple[Layer, Tensor]:
    """min(2, 6) · min(8, 2) = 4, but the product is 16 x 12 with rank at most 4."""
    w1, w2 = draw(2, 6), draw(8, 2)
    return LokrLayer((w1,), (w2,), 1.0), torch.kron(w1, w2)


def lokr_w2() -> tuple[Layer, Tensor]:
    w1, a, b = draw(2, 3), draw(5, 2), draw(2, 4)
    return LokrLayer((w1,), (a, b), 0.5), 0.5 * torch.kron(w1, a @ b)


def lokr_both() -> tuple[Layer, Tensor]:
    a, b, c, d = draw(6, 1), draw(1, 4), draw(5, 1), draw(1, 8)
    return LokrLayer((a, b), (c, d), 2.0), 2 * torch.kron(a @ b, c @ d)


def lokr_convolution() -> tuple[Layer, Tensor]:
    w1, w2 = draw(2, 3), draw(5, 4, 3, 3)
    return LokrLayer((w1,), (w2,), 1.0), torch.kron(w1[:, :, None, None], w2)


def lokr_flat_convolution() -> tuple[Layer, Tensor]:
    w1, a, b = draw(2, 3), draw(5, 2), draw(2, 36)
    expected = torch.kron(w1[:, :, None, None], (a @ b).reshape(5, 4, 3, 3))
    return LokrLayer((w1,), (a, b), 1.0, kernel=(3, 3)), expected


def lokr_tucker() -> tuple[Layer, Tensor]:
    w1, a, b, core = draw(2, 3), draw(2, 5), draw(2, 4), draw(2, 2, 3, 3)
    return LokrLayer((w1,), (a, b, core), 1.0), torch.kron(
        w1[..., None, None], tucker(core, a, b).contiguous()
    )


def dense() -> tuple[Layer, Tensor]:
    diff = draw(10, 7)
    return DenseLayer(diff), diff


def dense_convolution() -> tuple[Layer, Tensor]:
    diff = draw(10, 4, 3, 3)
    return DenseLayer(diff), diff


CASES = [
    lora, locon, locon_tucker, loha, loha_flat_convolution, loha_tucker, lokr_full,
    lokr_full_crossed, lokr_w2, lokr_both, lokr_convolution, lokr_flat_convolution, lokr_tucker,
    dense, dense_convolution,
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_factors_multiply_to_the_definition(case: object) -> None:
    torch.manual_seed(0)
    assert callable(case)
    layer, expected = case()
    down, up = layer.factors()

    assert layer.shape == tuple(expected.shape)
    assert (down.shape, up.shape) == (
        (layer.rank, expected[0].numel()),
        (len(expected), layer.rank),
    )
    assert layer.rank <= max(9, min(len(expected), expected[0].numel()))
    torch.testing.assert_close(form_delta(layer), expected.float())
    torch.testing.assert_close(layer.delta(), expected.float())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_row_range_of_a_layer_is_that_of_its_change(case: object) -> None:
    """Fused projections are split this way, whatever kind they were trained as."""
    torch.manual_seed(0)
    assert callable(case)
    layer, expected = case()
    part = cut_rows(layer, slice(2, 7))

    assert part.shape == tuple(expected[2:7].shape)
    torch.testing.assert_close(part.delta(), expected[2:7].float())
    torch.testing.assert_close(form_delta(part), expected[2:7].float())


def test_parts_of_a_plain_layer_share_its_memory() -> None:
    layer = LoraLayer(draw(3, 7), draw(10, 3), 1.0)
    down, up = cut_rows(layer, slice(2, 7)).factors()

    assert down.data_ptr() == layer.down.data_ptr()
    assert up.untyped_storage().data_ptr() == layer.up.untyped_storage().data_ptr()


def test_rows_of_a_loha_with_cores_form_no_other_rows() -> None:
    a, b, c, d = draw(3, 10), draw(3, 4), draw(3, 10), draw(3, 4)
    layer = LohaLayer(a, b, c, d, 0.5, draw(3, 3, 3, 3), draw(3, 3, 3, 3))

    part = cut_rows(layer, slice(2, 7))

    assert isinstance(part, LohaLayer)
    torch.testing.assert_close(part.delta(), layer.delta()[2:7])


@pytest.mark.parametrize("over_outputs", [True, False])
def test_dora_restores_its_magnitude(over_outputs: bool) -> None:
    """W' has the direction of W + ΔW, and along each row (or column) the stored length."""
    torch.manual_seed(0)
    base, change = torch.randn(10, 7), LoraLayer(torch.randn(3, 7), torch.randn(10, 3), 0.5)
    magnitude = torch.rand((10, 1) if over_outputs else (1, 7)) + 1
    layer = DoraLayer(change, magnitude)
    outcome = base + layer.delta(base)

    axis = 1 if over_outputs else 0
    torch.testing.assert_close(outcome.norm(dim=axis), magnitude.flatten())
    changed = base + change.delta()
    cosine = torch.nn.functional.cosine_similarity(outcome, changed, dim=axis)
    torch.testing.assert_close(cosine, torch.ones_like(cosine))
    with pytest.raises(BaseWeightNeededError, match="DoRA"):
        layer.factors()
    with pytest.raises(BaseWeightNeededError, match="DoRA"):
        layer.delta()


def test_dora_splits_by_rows_only_where_each_row_has_its_own_length() -> None:
    base, change = torch.randn(10, 7), LoraLayer(torch.randn(3, 7), torch.randn(10, 3), 0.5)
    layer = DoraLayer(change, torch.rand(10, 1) + 1)
    part = cut_rows(layer, slice(2, 7))

    torch.testing.assert_close(part.delta(base[2:7]), layer.delta(base)[2:7])
    with pytest.raises(BaseWeightNeededError, match="fused"):
        cut_rows(DoraLayer(change, torch.rand(1, 7)), slice(2, 7))


def test_a_replaced_weight_is_told_by_the_base() -> None:
    base, weight = torch.randn(10, 7), torch.randn(10, 7)
    layer = ReplacedLayer(weight)

    torch.testing.assert_close(layer.delta(base), weight - base)
    torch.testing.assert_close(cut_rows(layer, slice(3)).delta(base[:3]), (weight - base)[:3])
    with pytest.raises(BaseWeightNeededError, match="replaced"):
        layer.delta()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_halves_are_swapped_whatever_the_kind(case: object) -> None:
    """The last modulation of FLUX has its shift first where diffusers has its scale."""
    torch.manual_seed(0)
    assert callable(case)
    layer, expected = case()
    half = len(expected) // 2
    swapped = torch.cat([expected[half:], expected[:half]]).float()

    torch.testing.assert_close(swap_halves(layer).delta(), swapped)
    torch.testing.assert_close(form_delta(swap_halves(layer)), swapped)


def test_halves_of_dora_are_swapped_with_their_magnitudes() -> None:
    base, change = torch.randn(10, 7), LoraLayer(torch.randn(3, 7), torch.randn(10, 3), 0.5)
    for magnitude in (torch.rand(10, 1) + 1, torch.rand(1, 7) + 1):
        layer = DoraLayer(change, magnitude)
        swapped = swap_halves(layer).delta(base.roll(5, 0))
        torch.testing.assert_close(swapped, layer.delta(base).roll(5, 0))


def test_float8_is_compared_number_by_number() -> None:
    """It has no comparison of its own on a CPU."""
    diff = draw(10, 7).to(torch.float8_e4m3fn)
    other = diff.float()
    other[9, 6] += 1
    layer = DenseLayer(diff)

    assert is_same_change(layer, layer)
    assert is_same_change(layer, DenseLayer(diff.clone()))
    assert not is_same_change(layer, DenseLayer(other.to(torch.float8_e4m3fn)))
