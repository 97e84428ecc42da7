import math
import tracemalloc

import pytest
import torch
from torch import Tensor

from encoder.adapter import product_batch
from encoder.adapter.layer_measure import measure_layer
from encoder.adapter.layers import (
    DenseLayer,
    DoraLayer,
    Factors,
    Layer,
    LohaLayer,
    LokrLayer,
    LoraLayer,
    ReplacedLayer,
    RowsLayer,
)
from encoder.adapter.product_batch import ProductBatch
from encoder.adapter.spectrum import measure_layers
from encoder.arrays import Doubles
from encoder.base_models.families import block_of


def make_layer(
    seed: int, *, rank: int = 4, d_out: int = 40, d_in: int = 24, scale: float = 0.5
) -> LoraLayer:
    generator = torch.Generator().manual_seed(seed)
    down = torch.randn(rank, d_in, generator=generator)
    return LoraLayer(down, torch.randn(d_out, rank, generator=generator), scale)


def delta(layer: Layer) -> Tensor:
    down, up = layer.factors()
    return layer.scale * (up.double() @ down.double())


def norm(layer: Layer) -> float:
    measured = measure_layer(layer)
    assert measured is not None
    return measured.norm


def effective_rank(layer: Layer) -> float:
    measured = measure_layer(layer)
    assert measured is not None
    return measured.effective_rank


def exact_rank(layer: Layer) -> float:
    energies = torch.linalg.svdvals(delta(layer)) ** 2
    return float(energies.sum() ** 2 / (energies**2).sum())


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


KINDS: list[Layer] = [
    make_layer(0),
    LoraLayer(random(4, 6, 3, 3), random(8, 4, 1, 1), 0.5),
    LoraLayer(random(4, 6, 1, 1), random(8, 4, 1, 1), 0.5, mid=random(4, 4, 3, 3)),
    LohaLayer(random(40, 3), random(3, 24), random(40, 4), random(4, 24), 0.5),
    LokrLayer((random(3, 4),), (random(7, 6),), 0.5),
    LokrLayer((random(3, 2), random(2, 4)), (random(6, 8, 3, 3),), 0.5),
    LokrLayer((random(3, 4),), (random(2, 6), random(2, 8), random(2, 2, 3, 3)), 0.5),
    DenseLayer(random(40, 24), 0.5),
    DenseLayer(random(24, 5, 3, 3), 0.5),
    RowsLayer(LokrLayer((random(3, 4),), (random(7, 6),), 0.5), (slice(3, 12),)),
    # Sides of more rows than squares of columns.
    RowsLayer(LokrLayer((random(3, 4),), (random(30, 2),), 0.5), (slice(50, 80), slice(7))),
    RowsLayer(
        LokrLayer(
            (random(30, 1), random(1, 9)), (random(2, 8), random(2, 3), random(2, 2, 3, 3)), 0.5
        ),
        (slice(100, 200),),
    ),
    RowsLayer(LokrLayer((random(3, 9), random(9, 4)), (random(7, 6),), 0.5), (slice(3, 12),)),
]


@pytest.mark.parametrize("layer", KINDS, ids=lambda layer: f"{type(layer).__name__}{layer.shape}")
def test_norm_and_effective_rank_are_those_of_the_matrix_itself(layer: Layer) -> None:
    assert norm(layer) == pytest.approx(delta(layer).norm().item(), rel=1e-5)
    assert effective_rank(layer) == pytest.approx(exact_rank(layer), rel=1e-5)


SIDES: list[tuple[Tensor, ...]] = [
    (random(5, 7),),
    (random(9, 4),),
    (random(6, 3, 3, 3),),
    (random(8, 2), random(2, 9)),
    # Factors that are larger than their product.
    (random(3, 20), random(20, 4)),
    (random(2, 6), random(2, 8), random(2, 2, 3, 3)),
    (1e25 * random(5, 7),),
    (torch.zeros(4, 3),),
]


@pytest.mark.parametrize("w2", SIDES, ids=lambda side: " ".join(str(tuple(p.shape)) for p in side))
@pytest.mark.parametrize("w1", [*SIDES[:2], *SIDES[3:5]])
def test_a_kronecker_product_measures_by_its_sides_as_by_its_rows(
    w1: tuple[Tensor, ...], w2: tuple[Tensor, ...]
) -> None:
    layer = LokrLayer(w1, w2, 0.5)

    by_sides = measure_layer(layer)
    by_rows = measure_layer(RowsLayer(layer, (slice(layer.shape[0]),)))

    assert by_sides is not None
    assert by_rows is not None
    assert by_sides.norm == pytest.approx(by_rows.norm, rel=1e-5)
    assert by_sides.effective_rank == pytest.approx(by_rows.effective_rank, rel=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("place", range(4))
def test_damage_in_any_part_of_a_kronecker_product_is_found(place: int, bad: float) -> None:
    parts = [random(8, 2), random(2, 9), random(3, 1), torch.zeros(1, 4)]
    parts[place].view(-1)[-1] = bad

    measured = measure_layers({"a.0.x": LokrLayer((*parts[:2],), (*parts[2:],), 1.0)})

    assert dict(measured.damaged) == {"a.0.x": "holds NaN or infinity"}


@pytest.mark.parametrize("rank", [1, 5, 32, 33])
def test_wide_layers_are_measured_to_their_last_column(rank: int) -> None:
    """Those of a low rank are measured part by part."""
    layer = make_layer(0, rank=rank, d_out=30, d_in=70_000)

    assert norm(layer) == pytest.approx(delta(layer).norm().item(), rel=1e-5)


def test_measuring_takes_no_more_memory_for_more_layers() -> None:
    """Each Gram matrix of this rank has half a megabyte."""
    layers = {f"a.{k}.x": make_layer(k, rank=256, d_out=256, d_in=256) for k in range(40)}
    tracemalloc.start()
    try:
        measure_layers(layers)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 5_000_000


@pytest.mark.parametrize("rank", [1, 16, 64])
def test_quick_measures_of_bfloat16_are_good_to_half_a_percent(rank: int) -> None:
    """Layers as trained: with some directions that stand out."""
    base = make_layer(0, rank=rank, d_out=400, d_in=300)
    strengths = torch.linspace(1, 0.1, rank) ** 2
    down = (strengths[:, None] * base.down).bfloat16()
    layer = LoraLayer(down, base.up.bfloat16(), 0.5)

    quick = measure_layer(layer, quick=True)

    assert quick is not None
    assert quick.norm == pytest.approx(delta(layer).norm().item(), rel=5e-3)
    assert quick.effective_rank == pytest.approx(exact_rank(layer), rel=5e-3)


def test_layers_of_high_rank_are_probed_instead() -> None:
    layer = DenseLayer(random(1100, 1030) * torch.linspace(0, 1, 1030) ** 4, 0.5)

    assert norm(layer) == pytest.approx(delta(layer).norm().item(), rel=1e-5)
    assert effective_rank(layer) == pytest.approx(exact_rank(layer), rel=0.1)


def test_products_of_high_rank_are_only_checked_unless_asked_for() -> None:
    """A LoHa of rank 64 has 4,096 columns; forming it takes longer than reading a file."""
    sides = random(1100, 33), random(33, 1100), random(1100, 34)
    layer = LohaLayer(*sides, random(34, 1100), 0.5)
    bad = LohaLayer(*sides, torch.full((34, 1100), math.nan), 0.5)
    zero = LohaLayer(*sides, torch.zeros(34, 1100), 0.5)

    measured = measure_layers({"a.0.x": layer, "a.1.x": bad, "a.2.x": zero})

    assert measured.blocks == ()
    assert (list(measured.damaged), measured.zero_layers) == (["a.1.x"], ("a.2.x",))
    assert norm(layer) == pytest.approx(layer.delta().double().norm().item(), rel=1e-5)


def test_of_a_dora_the_change_of_direction_is_measured() -> None:
    layer = make_layer(0)

    assert measure_layer(DoraLayer(layer, torch.ones(40, 1))) == measure_layer(layer)


def test_replaced_weights_are_checked_and_count_nowhere() -> None:
    measured = measure_layers({"a.0.x": ReplacedLayer(torch.ones(3, 3)), "a.1.x": make_layer(0)})
    bad = measure_layers({"a.0.x": ReplacedLayer(torch.full((3, 3), math.nan))})

    assert [spectrum.block for spectrum in measured.blocks] == ["a.1"]
    assert not measured.zero_layers
    assert "a.0.x" in bad.damaged


def test_projections_that_share_a_down_are_told_apart() -> None:
    one, other = make_layer(0), make_layer(1)
    split = LoraLayer(one.down, other.up, 0.5)

    both = measure_layers({"a.0.x": one, "a.1.x": split})

    assert both.norm**2 == pytest.approx(norm(one) ** 2 + norm(split) ** 2)


@pytest.mark.parametrize("directions", [1, 3])
def test_equal_directions_count_as_many_as_they_are(directions: int) -> None:
    down, up = torch.eye(directions, 24), torch.eye(40, directions)

    assert effective_rank(LoraLayer(down, up, 1.0)) == pytest.approx(directions)


def test_a_repeated_direction_adds_no_rank() -> None:
    layer = make_layer(1, rank=1)
    twice = LoraLayer(layer.down.repeat(2, 1), layer.up.repeat(1, 2), 1.0)

    assert effective_rank(twice) == pytest.approx(1)


def test_blocks_share_the_energy_in_the_order_in_which_they_run() -> None:
    names = [
        "single_transformer_blocks.0.proj_out",
        "transformer_blocks.10.attn.to_q",
        "transformer_blocks.2.attn.to_q",
        "transformer_blocks.2.attn.to_k",
    ]
    layers = {name: make_layer(seed) for seed, name in enumerate(names)}

    spectra = measure_layers(layers).blocks

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
    faint = LoraLayer(make_layer(0).down * 1e-30, make_layer(0).up, 1.0)
    layers = {
        "a.0.x": LoraLayer(torch.zeros(4, 24), make_layer(0).up, 1.0),
        "a.1.x": make_layer(0, scale=0),
        "a.2.x": faint,
    }

    measured = measure_layers(layers)

    assert measured.zero_layers == ("a.0.x", "a.1.x")
    assert measured.norm == pytest.approx(delta(faint).norm().item(), rel=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("side", ["down", "up"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_one_bad_entry_anywhere_is_found(bad: float, side: str, dtype: torch.dtype) -> None:
    layer = make_layer(0)
    broken = LoraLayer(layer.down.to(dtype, copy=True), layer.up.to(dtype, copy=True), 1.0)
    getattr(broken, side).view(-1)[-1] = bad

    measured = measure_layers({"a.0.x": layer, "a.1.x": broken})

    assert dict(measured.damaged) == {"a.1.x": "holds NaN or infinity"}
    assert [spectrum.block for spectrum in measured.blocks] == ["a.0"]


class Notes:
    """A watcher that keeps what it is shown."""

    def __init__(self) -> None:
        self.layers: dict[str, tuple[Layer, float | None, Factors | None]] = {}
        self.batches: list[tuple[ProductBatch, list[float]]] = []

    def add(
        self, name: str, layer: Layer, norm: float | None = None, factors: Factors | None = None
    ) -> None:
        self.layers[name] = layer, norm, factors

    def add_batch(self, batch: ProductBatch, norms: Doubles) -> None:
        self.batches.append((batch, norms.tolist()))


def test_a_watcher_is_shown_sound_layers_with_their_norm_and_factors() -> None:
    """What else is made of the weights is made while they are in memory."""
    large = make_layer(0, d_out=30_000)
    plain = LoraLayer(large.down.bfloat16(), large.up.bfloat16(), 0.5)
    bad = LoraLayer(make_layer(0).down * math.nan, make_layer(0).up, 0.5)
    dense = DenseLayer(random(40, 24), 0.5)
    layers: dict[str, Layer] = {"a.0.x": plain, "a.1.x": bad, "a.2.x": dense}
    notes, released = Notes(), list[Layer]()

    measure_layers(layers, released.append, [notes])

    assert sorted(map(id, released)) == sorted(map(id, layers.values()))
    assert notes.layers.keys() == {"a.0.x", "a.2.x"}
    for name, (layer, found, _) in notes.layers.items():
        assert layer is layers[name]
        # Exact: sketches are made with it, on whatever processor.
        assert found == pytest.approx(delta(layer).norm().item(), rel=1e-5)
    shared = notes.layers["a.0.x"][2]
    assert shared is not None
    assert torch.equal(shared[0], plain.down.float())
    assert torch.equal(shared[1], plain.up.float())
    assert notes.batches == []


def test_small_layers_of_equal_shapes_are_shown_together() -> None:
    """But for those whose numbers need a closer look."""
    down = make_layer(0).down
    layers: dict[str, Layer] = {f"a.{n}.x": make_layer(n) for n in range(3)}
    layers["a.3.x"] = LoraLayer(down * math.nan, make_layer(0).up, 0.5)
    layers["a.4.x"] = LoraLayer(torch.zeros_like(down), make_layer(0).up, 0.5)
    layers["a.5.x"] = LoraLayer(down * 1e-30, make_layer(0).up * 1e30, 0.5)
    layers["a.6.x"] = make_layer(6, rank=2)
    notes = Notes()

    measured = measure_layers(layers, watchers=[notes])

    shown = {tuple(batch.names): norms for batch, norms in notes.batches}
    assert shown.keys() == {("a.0.x", "a.1.x", "a.2.x"), ("a.6.x",)}
    for names, norms in shown.items():
        exact = [delta(layers[name]).norm().item() for name in names]
        assert norms == pytest.approx(exact, rel=1e-5)
    batch = notes.batches[0][0]
    assert torch.equal(batch.downs[1], make_layer(1).down)
    assert torch.equal(batch.ups[1], make_layer(1).up.T)
    assert notes.layers.keys() == {"a.4.x", "a.5.x"}
    assert measured.zero_layers == ("a.4.x",)
    assert dict(measured.damaged) == {"a.3.x": "holds NaN or infinity"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_together_layers_measure_as_they_do_alone(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = {
        f"a.{n}.x": LoraLayer(
            make_layer(n, rank=1 + n % 3).down.to(dtype),
            make_layer(n, rank=1 + n % 3).up.to(dtype),
            (-1) ** n * 10.0 ** (n - 3),
        )
        for n in range(8)
    }
    together = measure_layers(layers)
    monkeypatch.setattr(product_batch, "MOST_ENTRIES", 0)
    alone = measure_layers(layers, watchers=[Notes()])

    assert together.norm == pytest.approx(alone.norm, rel=1e-5)
    for ours, theirs in zip(together.blocks, alone.blocks, strict=True):
        assert ours.block == theirs.block
        assert ours.energy == pytest.approx(theirs.energy, rel=1e-4)
        assert ours.effective_rank == pytest.approx(theirs.effective_rank, rel=1e-4)


def test_large_numbers_are_no_infinity() -> None:
    """Squares overflow long before the weights do."""
    layer = make_layer(0)
    large = LoraLayer(layer.down * 1e25, layer.up * 1e-25, layer.scale)

    assert norm(large) == pytest.approx(norm(layer), rel=1e-5)


def test_a_product_beyond_float32_is_damage() -> None:
    layer = make_layer(0)
    measured = measure_layers({"a.0.x": LoraLayer(layer.down * 1e25, layer.up * 1e25, 1.0)})

    assert dict(measured.damaged) == {"a.0.x": "is too large to compute with"}
    assert measured.norm == 0


def test_an_adapter_without_layers_has_no_spectrum() -> None:
    assert measure_layers({}).blocks == ()
