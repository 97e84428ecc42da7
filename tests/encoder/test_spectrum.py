import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from encoder.spectrum import block_of, block_spectra, measure, measure_layer


@dataclass
class Pair:
    down: Tensor
    up: Tensor
    scale: float = 1.0

    def factors(self) -> tuple[Tensor, Tensor]:
        return self.down, self.up


def make_layer(
    seed: int, *, rank: int = 4, d_out: int = 40, d_in: int = 24, scale: float = 0.5
) -> Pair:
    generator = torch.Generator().manual_seed(seed)
    down = torch.randn(rank, d_in, generator=generator)
    return Pair(down, torch.randn(d_out, rank, generator=generator), scale)


def delta(layer: Pair) -> Tensor:
    return layer.scale * (layer.up.double() @ layer.down.double())


def test_norm_and_effective_rank_are_those_of_the_matrix_itself() -> None:
    layer = make_layer(0)
    energies = torch.linalg.svdvals(delta(layer)) ** 2

    measured = measure_layer(layer)

    assert measured.norm == pytest.approx(delta(layer).norm().item(), rel=1e-5)
    expected = (energies.sum() ** 2 / (energies**2).sum()).item()
    assert measured.effective_rank == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("directions", [1, 3])
def test_equal_directions_count_as_many_as_they_are(directions: int) -> None:
    down, up = torch.eye(directions, 24), torch.eye(40, directions)

    assert measure_layer(Pair(down, up)).effective_rank == pytest.approx(directions)


def test_a_repeated_direction_adds_no_rank() -> None:
    layer = make_layer(1, rank=1)
    twice = Pair(layer.down.repeat(2, 1), layer.up.repeat(1, 2))

    assert measure_layer(twice).effective_rank == pytest.approx(1)


def test_blocks_share_the_energy_in_the_order_in_which_they_run() -> None:
    names = [
        "single_transformer_blocks.0.proj_out",
        "transformer_blocks.10.attn.to_q",
        "transformer_blocks.2.attn.to_q",
        "transformer_blocks.2.attn.to_k",
    ]
    layers = {name: make_layer(seed) for seed, name in enumerate(names)}

    spectra = block_spectra(layers)

    assert [spectrum.block for spectrum in spectra] == [
        "transformer_blocks.2",
        "transformer_blocks.10",
        "single_transformer_blocks.0",
    ]
    energies = {name: delta(layer).square().sum().item() for name, layer in layers.items()}
    own = energies[names[2]] + energies[names[3]]
    assert spectra[0].energy == pytest.approx(own / sum(energies.values()), rel=1e-5)
    assert sum(spectrum.energy for spectrum in spectra) == pytest.approx(1)
    assert all(1 <= spectrum.effective_rank <= 4 for spectrum in spectra)


def test_blocks_of_a_unet_are_its_stages() -> None:
    assert block_of("down_blocks.2.attentions.1.proj_in") == "down_blocks.2"
    assert block_of("mid_block.attentions.0.proj_in") == "mid_block"


def test_zero_layers_are_told_from_faint_ones() -> None:
    """Squares of 1e-30 vanish in float32, the weights do not."""
    faint = Pair(make_layer(0).down * 1e-30, make_layer(0).up)
    layers = {
        "a.0.x": Pair(torch.zeros(4, 24), make_layer(0).up),
        "a.1.x": make_layer(0, scale=0),
        "a.2.x": faint,
    }

    measured = measure(layers)

    assert measured.zero_layers == ("a.0.x", "a.1.x")
    assert measured.norm == pytest.approx(delta(faint).norm().item(), rel=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("side", ["down", "up"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_one_bad_entry_anywhere_is_found(bad: float, side: str, dtype: torch.dtype) -> None:
    layer = make_layer(0)
    broken = Pair(layer.down.to(dtype, copy=True), layer.up.to(dtype, copy=True))
    getattr(broken, side).view(-1)[-1] = bad

    measured = measure({"a.0.x": layer, "a.1.x": broken})

    assert dict(measured.damaged) == {"a.1.x": "holds NaN or infinity"}
    assert [spectrum.block for spectrum in measured.blocks] == ["a.0"]


def test_large_numbers_are_no_infinity() -> None:
    """Squares overflow long before the weights do."""
    layer = make_layer(0)
    large = Pair(layer.down * 1e25, layer.up * 1e-25, layer.scale)

    assert measure_layer(large).norm == pytest.approx(measure_layer(layer).norm, rel=1e-5)


def test_a_product_beyond_float32_is_damage() -> None:
    layer = make_layer(0)
    measured = measure({"a.0.x": Pair(layer.down * 1e25, layer.up * 1e25)})

    assert dict(measured.damaged) == {"a.0.x": "is too large to compute with"}
    assert measured.norm == 0


def test_an_adapter_without_layers_has_no_spectrum() -> None:
    assert measure({}).blocks == ()
