import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from encoder.adapter.lora_file import LoraWeights, open_adapter, read
from encoder.adapter.lora_metadata import claimed_base_models, find_trainer
from encoder.base_models.families import find_family
from encoder.errors import BadWeightsError, LoraFileError, UnsupportedLoraError
from tests.encoder.builders import (
    TINY,
    TINY_METADATA,
    Factors,
    make_factors,
    write_adapter,
    write_tensors,
)

QUERY = "transformer_blocks.0.attn.to_q"
FLUX = find_family("flux.1-dev")
assert FLUX is not None


def one_layer(name: str = QUERY, **more: Tensor) -> dict[str, Tensor]:
    """Tensors of a single layer under PEFT's names; `more` adds suffixes."""
    down, up = make_factors(names=[name])[name]
    stem = f"transformer.{name}"
    tensors = {f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up}
    return {**tensors, **{f"{stem}.{suffix}": value for suffix, value in more.items()}}


def read_tensors(
    folder: Path, tensors: dict[str, Tensor], metadata: dict[str, str] = TINY_METADATA
) -> LoraWeights:
    return read(write_tensors(folder / "adapter.safetensors", tensors, metadata))


@pytest.mark.parametrize(
    ("prefix", "infix"),
    [
        ("transformer.", ""),
        ("transformer.", ".default"),
        ("base_model.model.", ""),
        ("diffusion_model.", ""),
        ("", ".default"),
    ],
)
def test_peft_names_give_the_written_changes(tmp_path: Path, prefix: str, infix: str) -> None:
    factors = make_factors()
    path = tmp_path / "a.safetensors"
    weights = read(write_adapter(path, factors, dtype=torch.float32, prefix=prefix, infix=infix))

    assert weights.layers.keys() == factors.keys()
    for name, (down, up) in factors.items():
        torch.testing.assert_close(weights.layers[name].delta(), up @ down)
    assert weights.base_model == "demo-flux-tiny"
    verdict = weights.verdict
    assert verdict.format == ("comfyui" if prefix == "diffusion_model." else "peft")
    assert (verdict.layers, verdict.missing) == (52, 0)
    assert (verdict.dtype, verdict.ranks) == ("F32", (2, 2, 2))
    assert verdict.fusable
    assert json.loads(json.dumps(verdict.to_json()))["ranks"] == [2, 2, 2]


def test_a_unet_is_read_and_its_base_model_is_unknown(tmp_path: Path) -> None:
    """A wrong family is a bug; unknown is an answer."""
    stem = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    tensors = {
        f"{stem}.lora_A.weight": torch.ones(4, 2048),
        f"{stem}.lora_B.weight": torch.ones(320, 4),
    }
    weights = read_tensors(tmp_path, tensors, {})

    assert list(weights.layers) == [stem.removeprefix("unet.")]
    assert weights.base_model == "unknown"
    assert weights.verdict.loadable
    assert not weights.verdict.fusable


def flux_factors(names: list[str]) -> Factors:
    return make_factors(names=names, family=FLUX)  # type: ignore[arg-type]


SINGLE = "single_transformer_blocks.37.proj_out"


@pytest.mark.parametrize(
    ("names", "metadata", "base_model"),
    [
        # Chroma has these as well.
        ([SINGLE, QUERY], {}, "unknown"),
        ([SINGLE, "transformer_blocks.18.norm1.linear", "x_embedder"], {}, "flux.1"),
        ([SINGLE], {"modelspec.architecture": "flux-1-dev/lora"}, "flux.1-dev"),
        ([SINGLE], {"modelspec.architecture": "Flux.1-schnell"}, "flux.1-schnell"),
        ([SINGLE], {"ss_base_model_version": "flux1"}, "flux.1"),
        # Qwen-Image has the same attention; only the metadata can tell.
        ([QUERY], {}, "unknown"),
        ([QUERY], {"ss_base_model_version": "flux.1"}, "flux.1"),
        # A claim against the evidence, or of a base model not known here.
        ([SINGLE], {"ss_base_model_version": "demo-flux-tiny"}, "unknown"),
        ([SINGLE], {"ss_base_model_version": "hidream_i1"}, "unknown"),
        # Another architecture with these layers, whose adapters are only told apart.
        ([SINGLE], {"ss_base_model_version": "chroma"}, "chroma"),
    ],
)
def test_the_base_model_is_told_by_shapes_then_by_metadata(
    tmp_path: Path, names: list[str], metadata: dict[str, str], base_model: str
) -> None:
    path = write_adapter(tmp_path / "a.safetensors", flux_factors(names), metadata=metadata)

    weights = read(path)

    assert weights.base_model == weights.verdict.base_model == base_model
    assert weights.verdict.evidence


def test_a_block_that_flux_lacks_makes_it_another_base_model(tmp_path: Path) -> None:
    """HunyuanVideo has FLUX.1's names and widths, and more blocks."""
    factors = flux_factors([SINGLE])
    factors["single_transformer_blocks.39.proj_out"] = factors[SINGLE]

    weights = read(write_adapter(tmp_path / "a.safetensors", factors, metadata={}))
    assert weights.base_model == "hunyuan-video"


def test_alpha_tensors_scale_their_own_layer(tmp_path: Path) -> None:
    weights = read_tensors(tmp_path, one_layer(alpha=torch.tensor(1.0)))

    assert weights.layers[QUERY].scale == 0.5


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({"lora_alpha": 8, "r": 2}, 4.0),
        ({"lora_alpha": 8, "r": 2, "use_rslora": True}, 8 / math.sqrt(2)),
        ({"lora_alpha": 8, "alpha_pattern": {"to_q": 1}}, 0.5),
        ({"lora_alpha": 8, "alpha_pattern": {"0.attn.to_q": 1}}, 0.5),
        ({"lora_alpha": 8, "alpha_pattern": {"o_q": 1}}, 4.0),
    ],
)
def test_alpha_in_diffusers_metadata_is_what_peft_makes_of_it(
    tmp_path: Path, config: dict[str, object], scale: float
) -> None:
    written = json.dumps({f"transformer.{key}": value for key, value in config.items()})
    metadata = {**TINY_METADATA, "lora_adapter_metadata": written}

    weights = read_tensors(tmp_path, one_layer(), metadata)

    assert weights.layers[QUERY].scale == pytest.approx(scale)
    assert weights.trainer == "diffusers"


@pytest.mark.parametrize(
    ("config", "cause"),
    [
        ("[1]", "not a JSON object"),
        ("{", "not a JSON object"),
        ('{"transformer.r": 2}', "no usable alpha"),
        ('{"transformer.lora_alpha": 1e999}', "no usable lora_alpha"),
        ('{"transformer.lora_alpha": true}', "no usable lora_alpha"),
        ('{"transformer.lora_alpha": 1, "transformer.use_dora": true}', "DoRA"),
        (
            '{"transformer.lora_alpha": 1, "transformer.alpha_pattern": {"(a+)+$": 1}}',
            "plain module names",
        ),
    ],
)
def test_metadata_that_cannot_be_followed_is_refused(
    tmp_path: Path, config: str, cause: str
) -> None:
    with pytest.raises(LoraFileError, match=cause):
        read_tensors(tmp_path, one_layer(), {"lora_adapter_metadata": config})


@pytest.mark.parametrize(
    ("key", "cause"),
    [
        ("lora_unet_double_blocks_0_img_attn_proj.oft_blocks", "OFT"),
        ("transformer.transformer_blocks.0.attn.to_q.oft_R.weight", "OFT"),
        ("lora_unet_double_blocks_0_img_attn_proj.a1.weight", "GLoRA"),
        ("base_model.model.transformer_blocks.0.ff.net.2.ia3_l", "IA3"),
        ("emb_params", "textual inversion"),
        ("double_blocks.0.processor.ip_adapter_double_stream_k_proj.weight", "IP-Adapter"),
        ("lora_controlnet.input_blocks.1.0.in_layers.2.up", "ControlNet"),
        (f"transformer.{QUERY}.lora_A.bias", "bias between"),
        (f"lora_unet_{QUERY}.bias_indices", "the rest of the difference"),
        ("blocks.0.attn.qkv_proj.lora_B.default.weight", "turns of heads"),
        ("model.diffusion_model.input_blocks.0.0.weight", "a whole model"),
        ("text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_A.weight", "only text_encoder"),
    ],
)
def test_what_cannot_be_read_exactly_is_refused_by_name(
    tmp_path: Path, key: str, cause: str
) -> None:
    with pytest.raises(UnsupportedLoraError, match=cause) as caught:
        read_tensors(tmp_path, {key: torch.ones(2, 2)})

    assert str(caught.value).startswith("adapter.safetensors: ")


@pytest.mark.parametrize(
    ("key", "cause"),
    [
        ("base_model.model.double_blocks.0.img_attn.norm.query_norm.scale", "control LoRA"),
        (f"transformer.{QUERY}.lora_A.weight_scale", "scaled float8"),
    ],
)
def test_what_whole_models_have_too_is_refused_beside_factors(
    tmp_path: Path, key: str, cause: str
) -> None:
    with pytest.raises(UnsupportedLoraError, match=cause):
        read_tensors(tmp_path, one_layer() | {key: torch.ones(2, 2)})


# The last is what ai-toolkit writes where it saves as PEFT does.
@pytest.mark.parametrize("part", ["text_encoder", "lora_te1"])
@pytest.mark.parametrize(
    ("down", "up"),
    [
        ("lora_A.weight", "lora_B.weight"),
        ("lora_linear_layer.down.weight", "lora_linear_layer.up.weight"),
    ],
)
def test_text_encoder_parts_are_left_out_and_said_so(
    tmp_path: Path, part: str, down: str, up: str
) -> None:
    text = f"{part}.text_model.encoder.layers.0.mlp.fc1"
    tensors = {
        **one_layer(),
        f"{text}.{down}": torch.ones(2, 8),
        f"{text}.{up}": torch.ones(8, 2),
    }
    verdict = read_tensors(tmp_path, tensors).verdict

    assert verdict.parts == {"transformer": 1, "text_encoder": 1}
    assert verdict.unused == 1
    assert verdict.fusable
    assert "its 1 layer of text_encoder is left out" in verdict.reasons[0]


BAD = {
    "NaN": one_layer() | {f"transformer.{QUERY}.lora_B.weight": torch.full((128, 2), math.nan)},
    "infinity": one_layer()
    | {f"transformer.{QUERY}.lora_A.weight": torch.full((2, 128), -math.inf)},
    "does not multiply": one_layer() | {f"transformer.{QUERY}.lora_B.weight": torch.ones(128, 3)},
    "absurd rank 4097": {
        f"transformer.{QUERY}.lora_A.weight": torch.ones(4097, 128),
        f"transformer.{QUERY}.lora_B.weight": torch.ones(128, 4097),
    },
    "stored as I64": one_layer()
    | {f"transformer.{QUERY}.lora_B.weight": torch.ones(128, 2, dtype=torch.int64)},
    "not one number": one_layer(alpha=torch.ones(2)),
    "the scale inf": one_layer(alpha=torch.tensor(math.inf)),
    "by 2x128: no layer": one_layer()
    | {f"transformer.{QUERY}.lora_B.weight": torch.ones(128, 2, 1, 1)},
    "lacks its up": {f"transformer.{QUERY}.lora_A.weight": torch.ones(2, 128)},
    "mixes the prefixes": one_layer() | {
        "unet.x.lora_A.weight": torch.ones(2, 8), "unet.x.lora_B.weight": torch.ones(8, 2)
    },
    "are the same": one_layer()
    | {f"transformer.{QUERY}.lora_A.default.weight": torch.ones(2, 128)},
}  # fmt: skip


@pytest.mark.parametrize("cause", BAD)
def test_weights_that_cannot_work_are_refused(tmp_path: Path, cause: str) -> None:
    with pytest.raises((BadWeightsError, UnsupportedLoraError), match=cause):
        read_tensors(tmp_path, BAD[cause])


@pytest.mark.parametrize("cause", BAD)
def test_a_quick_look_refuses_the_same(tmp_path: Path, cause: str) -> None:
    path = write_tensors(tmp_path / "adapter.safetensors", BAD[cause], TINY_METADATA)
    with pytest.raises((BadWeightsError, UnsupportedLoraError), match=cause):
        open_adapter(path).read_quickly()


def test_a_quick_look_gives_the_same_layers(tmp_path: Path) -> None:
    """All but what only the whole verdict tells: the spectrum."""
    path = write_adapter(tmp_path / "a.safetensors", make_factors())
    slow, quick = read(path), open_adapter(path).read_quickly()
    assert slow.layers.keys() == quick.layers.keys()
    for name, layer in slow.layers.items():
        assert torch.equal(layer.delta(), quick.layers[name].delta())
    assert quick.verdict.fusable
    assert (quick.base_model, quick.trainer) == (slow.base_model, slow.trainer)


def test_a_quick_look_does_not_take_large_values_for_damage(tmp_path: Path) -> None:
    """Where the norm of all tensors leaves it open, every layer is looked at."""
    down = torch.full((2, 128), 1e30)
    tensors = one_layer() | {f"transformer.{QUERY}.lora_A.weight": down}
    path = write_tensors(tmp_path / "large.safetensors", tensors, TINY_METADATA)
    assert open_adapter(path).read_quickly().layers.keys() == read(path).layers.keys()


def test_an_opposite_pair_of_infinities_is_found(tmp_path: Path) -> None:
    """Their sum is NaN, not zero; nor may large values that sum to infinity be refused."""
    down = torch.zeros(2, 128)
    down[0, 0], down[0, 1] = math.inf, -math.inf
    with pytest.raises(BadWeightsError, match="NaN or infinity"):
        read_tensors(tmp_path, one_layer() | {f"transformer.{QUERY}.lora_A.weight": down})

    large = torch.full((2, 128), 60000.0, dtype=torch.float16)
    assert read_tensors(tmp_path, one_layer() | {f"transformer.{QUERY}.lora_A.weight": large})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_half_and_quarter_precision_are_read(tmp_path: Path, dtype: torch.dtype) -> None:
    factors = make_factors(names=[QUERY])
    weights = read(write_adapter(tmp_path / "a.safetensors", factors, dtype=dtype))
    down, up = (part.to(dtype).float() for part in factors[QUERY])

    torch.testing.assert_close(weights.layers[QUERY].delta(), up @ down)


def test_trigger_words_come_from_the_metadata_without_control_characters(tmp_path: Path) -> None:
    """A NUL cannot be stored in PostgreSQL, and an escape sequence spoils a terminal."""
    metadata = {
        **TINY_METADATA,
        "modelspec.trigger_phrase": "sks dog,, a\x00b\x1b[2J , sks dog, c\nSteps: 1\x9b\u202ed",
        "ss_tag_frequency": json.dumps({"10_dog": {"ohwx": 10}}),
        "ss_thumbnail": "x" * 20_000,
    }
    weights = read_tensors(tmp_path, one_layer(), metadata)

    assert weights.trigger_words == ("sks dog", "a b [2J", "c Steps: 1 d", "ohwx")
    assert "ss_thumbnail" not in weights.metadata


def test_what_simple_tuner_writes_of_itself_is_known(tmp_path: Path) -> None:
    """Its architecture is its own name of a family and of a flavour of it."""
    metadata = {
        "modelspec.implementation": "diffusers",
        "modelspec.architecture": "chroma-hd/lora",
        "global_step": "1000",
        "trained_words": "ohwx dog, in a field",
    }
    stem = "transformer.transformer_blocks.0.attn.to_q"
    layer = {f"{stem}.lora_A.weight": torch.ones(2, 3072),
             f"{stem}.lora_B.weight": torch.ones(3072, 2)}  # fmt: skip
    path = write_tensors(tmp_path / "a.safetensors", layer, metadata)
    weights = read(path)

    assert weights.trainer == "SimpleTuner"
    assert weights.trigger_words == ("ohwx dog", "in a field")
    assert weights.base_model == "chroma"


@pytest.mark.parametrize(("steps", "meant"), [("1000", "sd-3.5-medium"), ("", "sd-3")])
def test_a_word_means_what_its_trainer_means_by_it(steps: str, meant: str) -> None:
    """SimpleTuner's SD 3 medium is SD 3.5 medium, which has all of SD 3's layers."""
    metadata = {"modelspec.architecture": "sd3-medium/lora"}
    if steps:
        metadata |= {"modelspec.implementation": "diffusers", "global_step": steps}

    assert [claim.base_model for claim in claimed_base_models(metadata)] == [meant]


@pytest.mark.parametrize(
    ("marks", "trainer"), [({}, "musubi-tuner"), ({"ss_v2": "False"}, "sd-scripts")]
)
def test_modules_of_one_name_are_told_by_what_else_is_written(
    marks: dict[str, str], trainer: str
) -> None:
    assert find_trainer({"ss_network_module": "networks.loha", **marks}) == trainer


@pytest.mark.parametrize("network", ["qwen_image", "qwen_image_21", "ernie_image", "mage_flow"])
def test_musubi_tuner_is_known_by_networks_that_it_alone_has(network: str) -> None:
    module = f"networks.lora_{network}"

    assert find_trainer({"ss_network_module": module}) == "musubi-tuner"


def test_what_draw_things_calls_trigger_words_is_known(tmp_path: Path) -> None:
    weights = read_tensors(tmp_path, one_layer(), {**TINY_METADATA, "trigger_word": "ohwx dog, "})

    assert weights.trigger_words == ("ohwx dog",)


def test_a_layer_outside_the_family_keeps_the_rest_readable(tmp_path: Path) -> None:
    weights = read_tensors(tmp_path, {**one_layer(), **one_layer("x_embedder")})

    assert set(weights.layers) == {QUERY, "x_embedder"}
    assert weights.verdict.missing == len(TINY.block_layers) - 1
