"""What leaves an adapter the same leaves its fingerprint the same, and nothing else does."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from encoder.adapter import product_batch
from encoder.adapter.layers import (
    DenseLayer,
    DoraLayer,
    Layer,
    LohaLayer,
    LokrLayer,
    LoraLayer,
    ReplacedLayer,
    RowsLayer,
)
from encoder.adapter.lora_file import read
from encoder.errors import FingerprintError
from encoder.sketches.fingerprint import (
    Fingerprint,
    Fingerprinter,
    distance,
    fingerprint,
    fingerprint_layers,
    is_same,
    similarity,
    strength_ratio,
)
from encoder.sketches.folding import SIZE
from tests.encoder.builders import make_factors, write_adapter, write_tensors

Layers = dict[str, Layer]


def make_layers(seed: int = 0, *, scale: float = 0.5) -> dict[str, LoraLayer]:
    factors = make_factors(seed, rank=4)
    return {name: LoraLayer(down, up, scale) for name, (down, up) in factors.items()}


def changed(change: Callable[[LoraLayer], Layer], seed: int = 0) -> Fingerprint:
    layers: Layers = {name: change(layer) for name, layer in make_layers(seed).items()}
    return fingerprint_layers(layers)


def refactor(layer: LoraLayer) -> LoraLayer:
    generator = torch.Generator().manual_seed(layer.down.shape[1])
    basis = torch.linalg.qr(torch.randn(4, 4, generator=generator)).Q
    basis = basis * torch.tensor([0.5, 1, 2, 4])
    return LoraLayer(basis @ layer.down, layer.up @ torch.linalg.inv(basis), layer.scale)


def cast(dtype: torch.dtype) -> Callable[[LoraLayer], LoraLayer]:
    return lambda layer: LoraLayer(layer.down.to(dtype), layer.up.to(dtype), layer.scale)


@pytest.mark.parametrize(
    "change",
    [
        refactor,
        cast(torch.float64),
        cast(torch.float16),
        cast(torch.bfloat16),
        lambda layer: cast(torch.bfloat16)(refactor(layer)),
        lambda layer: LoraLayer(layer.down, layer.up * layer.scale, 1.0),
        lambda layer: LoraLayer(layer.down * 1e-20, layer.up * 1e20, layer.scale),
        lambda layer: LoraLayer(-layer.down, -layer.up, layer.scale),
        lambda layer: DenseLayer(layer.delta()),
    ],
)
def test_the_same_change_written_otherwise_is_the_same(
    change: Callable[[LoraLayer], Layer],
) -> None:
    assert is_same(changed(change), fingerprint_layers(make_layers()))


def test_order_and_untouched_layers_do_not_matter() -> None:
    layers: Layers = dict(reversed(make_layers().items()))
    layers["proj_out"] = LoraLayer(torch.zeros(2, 128), torch.zeros(64, 2), 1.0)

    assert distance(fingerprint_layers(layers), fingerprint_layers(make_layers())) < 1e-3


def test_two_adapters_are_far_apart() -> None:
    one, other = fingerprint_layers(make_layers(0)), fingerprint_layers(make_layers(1))

    assert distance(one, other) > 1
    assert abs(similarity(one, other)) < 0.5


@pytest.mark.parametrize("factor", [0.9, 1.1, -1.0])
def test_another_strength_is_another_adapter_and_how_near_is_told(factor: float) -> None:
    one = fingerprint_layers(make_layers())
    other = fingerprint_layers(make_layers(scale=0.5 * factor))

    assert not is_same(one, other)
    assert similarity(one, other) == pytest.approx(math.copysign(1, factor), abs=1e-4)
    assert strength_ratio(one, other) == pytest.approx(abs(factor), rel=1e-4)
    if factor > 0:
        assert distance(one, other) == pytest.approx(abs(1 - min(factor, 1 / factor)), abs=1e-3)


def test_layers_are_told_apart_by_their_names_and_by_what_is_moved_where() -> None:
    layers = make_layers()
    names = [name for name in layers if name.endswith("attn.to_q")][:2]
    swapped = {**layers, names[0]: layers[names[1]], names[1]: layers[names[0]]}

    assert not is_same(fingerprint_layers(layers), fingerprint_layers(swapped))


def test_angles_and_distances_are_estimated_well() -> None:
    """Half of one adapter and half of another, at right angles to both."""
    one, other = make_layers(0), make_layers(1)
    mixed: Layers = {
        name: LoraLayer(
            torch.cat([one[name].down, other[name].down]),
            torch.cat([one[name].up, other[name].up], 1),
            0.5,
        )
        for name in one
    }
    estimates = fingerprint_layers(one), fingerprint_layers(mixed)

    def exact(layers: Layers) -> Tensor:
        return torch.cat([layers[name].delta().flatten() for name in one])

    a, b = exact(dict(one)), exact(mixed)
    assert similarity(*estimates) == pytest.approx(
        torch.nn.functional.cosine_similarity(a, b, 0).item(), abs=3 / math.sqrt(SIZE)
    )
    assert estimates[0].log_norm == pytest.approx(math.log(a.norm().item()), abs=1e-4)
    expected = ((a - b).norm() / torch.maximum(a.norm(), b.norm())).item()
    assert distance(*estimates) == pytest.approx(expected, abs=0.2)


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize(
    "layer",
    [
        LohaLayer(random(40, 3), random(3, 24), random(40, 4), random(4, 24), 0.5),
        LokrLayer((random(3, 4),), (random(7, 6),), 0.5),
        # Taken by parts.
        LokrLayer((random(2500, 3),), (random(5, 4),), 0.5),
        LokrLayer((random(3, 2), random(2, 4)), (random(6, 8, 3, 3),), 0.5),
        LohaLayer(random(1100, 33), random(33, 1030), random(1100, 34), random(34, 1030), 0.5),
        RowsLayer(LokrLayer((random(3, 4),), (random(7, 6),), 0.5), (slice(3, 12),)),
        RowsLayer(
            LokrLayer((random(16, 16),), (random(90, 80),), 0.5),
            (slice(700, 1300), slice(100, 700)),
        ),
        LoraLayer(random(4, 6, 3, 3), random(8, 4, 1, 1), 0.5),
        LoraLayer(random(4, 6, 1, 1), random(8, 4, 1, 1), 0.5, mid=random(4, 4, 3, 3)),
    ],
)
def test_any_kind_is_the_same_as_its_full_difference(layer: Layer) -> None:
    found = fingerprint_layers({"a": layer})
    slow = fingerprint_layers({"a": LoraLayer(*_split(layer.delta().flatten(1)), 1.0)})

    assert distance(found, fingerprint_layers({"a": DenseLayer(layer.delta())})) < 1e-3
    assert distance(found, slow) < 1e-3


def _split(delta: Tensor) -> tuple[Tensor, Tensor]:
    """The identity and the matrix: factors without a thought."""
    return torch.eye(delta.shape[1]), delta


def test_magnitudes_biases_and_replaced_weights_count() -> None:
    lora, layers = make_layers(), dict[str, Layer](make_layers())
    name = next(iter(lora))
    width = lora[name].shape[0]
    dora = {**layers, name: DoraLayer(lora[name], 3 + random(width, 1))}
    flat = {**layers, name: DoraLayer(lora[name], 3 + random(width, 1).flatten())}
    replaced = {**layers, name: ReplacedLayer(random(*lora[name].shape))}
    plain = fingerprint_layers(layers)

    assert not is_same(plain, fingerprint_layers(dora))
    assert is_same(fingerprint_layers(flat), fingerprint_layers(dora))
    assert not is_same(plain, fingerprint_layers(replaced))
    assert not is_same(plain, fingerprint_layers(layers, {f"{name}.bias": random(width)}))


def test_files_in_two_dialects_are_the_same_adapter(tmp_path: Path) -> None:
    """kohya fuses q, k and v, and has alpha beside the weights."""
    modules = [f"transformer_blocks.0.attn.to_{part}" for part in "qkv"]
    factors = make_factors(rank=2, names=modules)
    down = factors[modules[0]][0]
    shared = {name: (down.clone(), up) for name, (_, up) in factors.items()}
    peft = write_adapter(tmp_path / "peft.safetensors", shared, dtype=torch.float32)
    stem = "lora_unet_double_blocks_0_img_attn_qkv"
    kohya = write_tensors(
        tmp_path / "kohya.safetensors",
        {
            f"{stem}.lora_down.weight": down,
            f"{stem}.lora_up.weight": 2 * torch.cat([up for _, up in shared.values()]),
            f"{stem}.alpha": torch.tensor(1.0),
        },
    )

    assert is_same(fingerprint(read(peft)), fingerprint(read(kohya)))


def test_bytes_are_small_and_restore_the_same() -> None:
    original = fingerprint_layers(make_layers())
    data = original.to_bytes()

    restored = Fingerprint.from_bytes(data)

    assert len(data) < 1000
    assert distance(original, restored) < 1e-6
    assert restored.to_bytes() == data


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: b"x" + data[1:],
        lambda data: data[:9] + b"\2" + data[10:],
        lambda data: data[:10] + np.float32(np.nan).tobytes() + data[14:],
        lambda data: data[:14] + bytes(len(data) - 14),
        lambda data: data[:14] + b"\xff" * (len(data) - 14),
    ],
)
def test_bytes_that_are_no_fingerprint_are_refused(spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(FingerprintError):
        Fingerprint.from_bytes(spoil(fingerprint_layers(make_layers()).to_bytes()))


def test_nothing_and_nan_have_no_fingerprint() -> None:
    with pytest.raises(FingerprintError, match="changes nothing"):
        fingerprint_layers({"a": LoraLayer(torch.zeros(1, 3), torch.ones(3, 1), 1.0)})
    with pytest.raises(FingerprintError, match="a holds NaN"):
        fingerprint_layers({"a": LoraLayer(torch.full((1, 3), math.nan), torch.ones(3, 1), 1.0)})


@pytest.mark.parametrize(
    ("w1", "w2"),
    [
        (((1000, 1000),), ((1000, 1000),)),
        (((1_000_000, 1), (1, 1_000_000)), ((1, 1),)),
        (((1, 1000),), ((1, 1000),)),
    ],
)
def test_a_product_wider_than_any_layer_is_refused_unformed(
    w1: tuple[tuple[int, int], ...], w2: tuple[tuple[int, int], ...]
) -> None:
    """A file of 8 MB may stand for a matrix of a million by a million."""
    first, second = (tuple(torch.ones(shape) for shape in side) for side in (w1, w2))
    fingerprinter = Fingerprinter()

    fingerprinter.add("x", LokrLayer(first, second, 1.0))

    with pytest.raises(FingerprintError, match="x is wider than any layer"):
        fingerprinter.finish({})


def test_fingerprints_are_the_same_on_every_machine() -> None:
    """Written down once: stored fingerprints must compare with those taken anywhere."""
    layer = LoraLayer(
        torch.arange(600.0).reshape(2, 300) / 600, torch.arange(400.0).reshape(200, 2) / 400, 0.5
    )

    found = fingerprint_layers({"transformer_blocks.0.attn.to_q": layer})

    assert found.log_norm == pytest.approx(4.29607, abs=1e-3)
    assert found.direction[:8].tolist() == pytest.approx(EXPECTED, abs=1e-3)


EXPECTED = [-0.0723, 0.0399, -0.0317, 0.0842, -0.0434, 0.0565, 0.0224, 0.0665]


def test_layers_folded_together_or_alone_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of widths below, at and above the number of buckets, and strengths far apart."""
    generator = torch.Generator().manual_seed(0)
    layers = {
        f"block.{n}": LoraLayer(
            torch.randn(3, width, generator=generator),
            torch.randn(200 + 100 * (n % 2), 3, generator=generator),
            10.0 ** (n % 3),
        )
        for n, width in enumerate([100, 256, 300, 512, 700] * 3)
    }
    together = fingerprint_layers(layers)
    monkeypatch.setattr(product_batch, "MOST_ENTRIES", 0)

    assert distance(together, fingerprint_layers(layers)) < 1e-3
