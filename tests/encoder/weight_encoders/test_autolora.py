import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from encoder.adapter.lora_file import LoraWeights, read
from encoder.base_models.families import FAMILIES, Family, find_family
from encoder.errors import SketchError
from encoder.sketches.sketch import default_layout, sketch
from encoder.weight_encoders.autolora import (
    FACTORS,
    AutoLora,
    AutoLoraConfig,
    AutoLoraEncoder,
    LayerTokens,
)
from encoder.weight_encoders.layer_batch import kinds_of, stack_sketches, stack_weights
from encoder.weight_encoders.text_space import TextSpace
from tests.encoder.builders import TINY, Factors, make_factors, write_adapter

CONFIG = AutoLoraConfig("demo-flux-tiny", queries=2, width=32, heads=2, dim=16)


UNETS = ("sd-1.5", "sdxl-1.0")


def load(folder: Path, factors: Factors) -> LoraWeights:
    path = folder / "adapter.safetensors"
    return read(write_adapter(path, factors, dtype=torch.float32))


def make_encoder(config: AutoLoraConfig = CONFIG) -> AutoLoraEncoder:
    torch.manual_seed(0)
    family = find_family(config.family)
    assert family is not None
    version = default_layout(family).version if config.sketched else FACTORS
    text = TextSpace(np.zeros(config.dim, np.float32))
    network = AutoLora(config).eval()
    return AutoLoraEncoder("test", family.name, "none", version, family.name, network, text)


def test_the_embedding_does_not_depend_on_the_factorisation(tmp_path: Path) -> None:
    factors = make_factors(rank=3)
    basis = torch.randn(3, 3, generator=torch.Generator().manual_seed(9))
    other = {n: (basis @ a, b @ torch.linalg.inv(basis)) for n, (a, b) in factors.items()}

    found = make_encoder().encode_weights([load(tmp_path, factors), load(tmp_path, other)])

    np.testing.assert_allclose(found[0], found[1], atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_a_token_is_the_projected_norm_of_the_change_asked_by_the_query(tmp_path: Path) -> None:
    """W · LayerNorm(X ΔWᵀ), with ΔW formed here and never in the encoder."""
    adapter = load(tmp_path, make_factors())
    network = make_encoder().network
    batch = stack_weights(TINY, [adapter])
    up = batch.up
    assert up is not None
    for kind, tokens in zip(kinds_of(TINY), network.tokens, strict=True):
        assert isinstance(tokens, LayerTokens)
        found = tokens(batch.down[kind.name], up[kind.name])[0]
        for column, place in enumerate(kind.places):
            delta = adapter.layers[list(TINY.block_layers)[place]].delta()
            answers = tokens.queries[column] @ (delta / delta.norm()).T
            slow = tokens.project(tokens.norm(answers * delta.shape[0] ** 0.5))
            torch.testing.assert_close(found[column], slow, atol=1e-4, rtol=1e-4)


def test_a_rank_padded_in_a_batch_changes_nothing(tmp_path: Path) -> None:
    low, high = load(tmp_path, make_factors(1, rank=2)), make_factors(2, rank=4)
    encoder = make_encoder()

    alone = encoder.encode_weights([low])
    beside = encoder.encode_weights([low, load(tmp_path, high)])

    np.testing.assert_allclose(alone[0], beside[0], atol=1e-5)


def test_a_missing_layer_is_unseen_whatever_stands_in_its_place(tmp_path: Path) -> None:
    batch = stack_weights(TINY, [load(tmp_path, make_factors())])
    network = make_encoder().network
    kind = kinds_of(TINY)[0]
    batch.mask[0, kind.places[0]] = False
    first = network(batch)
    batch.down[kind.name][0, 0] = torch.randn_like(batch.down[kind.name][0, 0])
    batch.log_magnitudes[0, kind.places[0]] = 7.0

    torch.testing.assert_close(network(batch), first)


def test_an_adapter_without_layers_is_refused(tmp_path: Path) -> None:
    """Attention over nothing but CLS would give every such file one embedding."""
    batch = stack_weights(TINY, [load(tmp_path, make_factors())])
    batch.mask[:] = False

    with pytest.raises(ValueError, match="no layer"):
        make_encoder().network(batch)


def test_sketches_stand_in_for_factors(tmp_path: Path) -> None:
    adapters = [load(tmp_path, make_factors(seed)) for seed in range(2)]
    sketches = [sketch(adapter) for adapter in adapters]
    encoder = make_encoder(dataclasses.replace(CONFIG, sketched=True))

    together = encoder.encode(sketches)

    np.testing.assert_allclose(together[1], encoder.encode(sketches[1:])[0], atol=1e-5)
    assert stack_sketches(TINY, sketches).up is None
    with pytest.raises(SketchError, match="random-2x"):
        encoder.encode([sketch(adapters[0], inputs=2)])


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_layers_of_a_kind_have_its_shape_and_each_layer_one_kind(family: Family) -> None:
    shapes = list(family.block_layers.values())
    sketched = default_layout(family).shapes
    kinds = kinds_of(family)

    assert sorted(place for kind in kinds for place in kind.places) == list(range(len(shapes)))
    assert len({kind.name for kind in kinds}) == len(kinds)
    for kind in kinds:
        assert {shapes[place] for place in kind.places} == {kind.shape}
        assert len({sketched[place] for place in kind.places}) == 1


@pytest.mark.parametrize("name", UNETS)
def test_layers_of_a_unet_are_encoded_though_their_widths_differ(name: str, tmp_path: Path) -> None:
    """A UNet's attention has the same name in blocks of 320, 640 and 1,280 channels."""
    family = find_family(name)
    assert family is not None
    layers = [layer for layer in family.block_layers if layer.endswith("attn2.to_q")]
    assert len({family.block_layers[layer] for layer in layers}) > 1
    adapters = []
    for seed in range(2):
        factors = make_factors(seed, names=layers, family=family)
        path = write_adapter(tmp_path / "a.safetensors", factors, prefix="unet.", metadata={})
        # Whatever else has these layers.
        adapters.append(read(path, [family]))
        assert adapters[-1].layers.keys() == set(layers)
    adapters = [dataclasses.replace(adapter, base_model=name) for adapter in adapters]
    config = dataclasses.replace(CONFIG, family=name)
    sketcher = make_encoder(dataclasses.replace(config, sketched=True))

    whole = make_encoder(config).encode_weights(adapters)
    sketched = sketcher.encode([sketch(adapter) for adapter in adapters])

    for embeddings in (whole, sketched):
        np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
        assert np.linalg.norm(embeddings[0] - embeddings[1]) > 1e-3
