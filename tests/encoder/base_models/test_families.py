"""The layers of families, shipped and built from any config, and which family a name is of."""

import json
import math
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from encoder.base_models.facts import read_facts
from encoder.base_models.families import (
    FAMILIES,
    LAYERS,
    LOOKALIKES,
    Family,
    find_family,
)
from encoder.base_models.matching import match_family
from encoder.base_models.modules import pack, read_all_parameters, unpack, unpack_first

DEMO_BASE = Path(__file__).parents[3] / "demo" / "data" / "base"
UNET: dict[str, Any] = {
    "block_out_channels": (32, 64), "norm_num_groups": 8, "layers_per_block": 1,
    "cross_attention_dim": 24, "attention_head_dim": 8,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}  # fmt: skip
FLUX: dict[str, Any] = {
    "num_layers": 1, "num_single_layers": 2, "attention_head_dim": 8, "num_attention_heads": 2,
    "joint_attention_dim": 24, "in_channels": 4, "axes_dims_rope": (2, 2, 4),
}  # fmt: skip
TINY: dict[str, tuple[str, dict[str, Any]]] = {
    "sd-1.5": ("UNet2DConditionModel", UNET),
    "sd-2.1": ("UNet2DConditionModel", UNET | {"use_linear_projection": True}),
    "sdxl-1.0": (
        "UNet2DConditionModel",
        UNET
        | {
            "use_linear_projection": True, "transformer_layers_per_block": (2, 1),
            "addition_embed_type": "text_time", "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 80,
        },
    ),
    "flux.1": ("FluxTransformer2DModel", FLUX | {"pooled_projection_dim": 20}),
    "flux.2": ("Flux2Transformer2DModel", FLUX | {"axes_dims_rope": (2, 2, 2, 2)}),
    "qwen-image": (
        "QwenImageTransformer2DModel",
        {
            "num_layers": 2, "attention_head_dim": 8, "num_attention_heads": 2, "in_channels": 16,
            "out_channels": 4, "joint_attention_dim": 24, "axes_dims_rope": (2, 2, 4),
        },
    ),
    "z-image": (
        "ZImageTransformer2DModel",
        {
            "dim": 32, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2,
            "cap_feat_dim": 24, "axes_dims": (4, 6, 6), "axes_lens": (16, 16, 16),
        },
    ),
    "chroma": (
        "ChromaTransformer2DModel",
        FLUX
        | {
            "num_attention_heads": 3, "approximator_num_channels": 8,
            "approximator_hidden_dim": 12, "approximator_layers": 2,
        },
    ),
    "krea-2": (
        "Krea2Transformer2DModel",
        {
            "in_channels": 4, "num_layers": 2, "attention_head_dim": 8, "num_attention_heads": 4,
            "num_key_value_heads": 2, "intermediate_size": 40, "timestep_embed_dim": 16,
            "text_hidden_dim": 16, "num_text_layers": 3, "text_num_attention_heads": 2,
            "text_num_key_value_heads": 2, "text_intermediate_size": 20,
            "num_layerwise_text_blocks": 1, "num_refiner_text_blocks": 1,
            "axes_dims_rope": (4, 2, 2),
        },
    ),
    "hidream-i1": (
        "HiDreamImageTransformer2DModel",
        {
            "patch_size": 2, "in_channels": 4, "out_channels": 4, "num_layers": 1,
            "num_single_layers": 1, "attention_head_dim": 8, "num_attention_heads": 5,
            "caption_channels": (24, 20), "text_emb_dim": 16, "num_routed_experts": 2,
            "num_activated_experts": 1, "axes_dims_rope": (4, 2, 2), "max_resolution": (8, 8),
            "llama_layers": (0, 1),
        },
    ),
    "hidream-o1": (
        "Qwen3VLForConditionalGeneration",
        {
            "text_config": {
                "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
                "num_key_value_heads": 1, "intermediate_size": 24, "vocab_size": 40,
                "head_dim": 8,
            },
            "vision_config": {
                "hidden_size": 12, "depth": 1, "num_heads": 2, "intermediate_size": 20,
                "patch_size": 4, "spatial_merge_size": 2, "in_channels": 3,
                "out_hidden_size": 16, "deepstack_visual_indexes": [0],
                "num_position_embeddings": 16,
            },
            "tie_word_embeddings": False,
        },
    ),
    "sd-3.5": (
        "SD3Transformer2DModel",
        {
            "sample_size": 8, "patch_size": 2, "in_channels": 4, "out_channels": 4,
            "num_layers": 2, "attention_head_dim": 8, "num_attention_heads": 6,
            "joint_attention_dim": 20, "caption_projection_dim": 48, "pooled_projection_dim": 28,
            "pos_embed_max_size": 8, "dual_attention_layers": (0,), "qk_norm": "rms_norm",
        },
    ),
    "anima": (
        "CosmosTransformer3DModel",
        {
            "in_channels": 4, "out_channels": 4, "num_attention_heads": 2,
            "attention_head_dim": 24, "num_layers": 2, "mlp_ratio": 2.0, "text_embed_dim": 28,
            "adaln_lora_dim": 6, "max_size": (4, 8, 8), "patch_size": (1, 2, 2),
            "rope_scale": (1.0, 1.0, 1.0), "concat_padding_mask": True,
            "extra_pos_embed_type": None,
        },
    ),
    "wan-2.1": (
        "WanTransformer3DModel",
        {
            "patch_size": (1, 2, 2), "num_attention_heads": 2, "attention_head_dim": 12,
            "in_channels": 4, "out_channels": 4, "text_dim": 20, "freq_dim": 16, "ffn_dim": 40,
            "num_layers": 2, "cross_attn_norm": True, "qk_norm": "rms_norm_across_heads",
            "image_dim": 28, "added_kv_proj_dim": 24,
        },
    ),
    "hunyuan-video": (
        "HunyuanVideoTransformer3DModel",
        {
            "in_channels": 4, "out_channels": 4, "num_attention_heads": 7,
            "attention_head_dim": 8, "num_layers": 1, "num_single_layers": 2,
            "num_refiner_layers": 1, "mlp_ratio": 2.0, "patch_size": 2, "patch_size_t": 1,
            "guidance_embeds": True, "text_embed_dim": 28, "pooled_projection_dim": 12,
            "rope_axes_dim": (4, 2, 2),
        },
    ),
    "hunyuan-video-1.5": (
        "HunyuanVideo15Transformer3DModel",
        {
            "in_channels": 9, "out_channels": 4, "num_attention_heads": 6,
            "attention_head_dim": 12, "num_layers": 2, "num_refiner_layers": 1,
            "mlp_ratio": 2.0, "patch_size": 1, "patch_size_t": 1, "text_embed_dim": 20,
            "text_embed_2_dim": 12, "image_embed_dim": 16, "rope_axes_dim": (4, 4, 4),
        },
    ),
    "ltx-video": (
        "LTXVideoTransformer3DModel",
        {
            "in_channels": 8, "out_channels": 8, "num_attention_heads": 2,
            "attention_head_dim": 8, "cross_attention_dim": 16, "num_layers": 2,
            "caption_channels": 24,
        },
    ),
    "ltx-2": (
        "LTX2VideoTransformer3DModel",
        {
            "in_channels": 8, "out_channels": 8, "num_attention_heads": 4,
            "attention_head_dim": 8, "cross_attention_dim": 32, "audio_in_channels": 8,
            "audio_out_channels": 8, "audio_num_attention_heads": 2,
            "audio_attention_head_dim": 8, "audio_cross_attention_dim": 16, "num_layers": 2,
            "caption_channels": 20, "rope_type": "split", "gated_attn": True,
            "cross_attn_mod": True, "audio_gated_attn": True, "audio_cross_attn_mod": True,
            "use_prompt_embeddings": False, "perturbed_attn": True,
        },
    ),
    "minimax-h3": (
        "MiniMaxH3Transformer3DModel",
        {
            "num_attention_heads": 2, "attention_head_dim": 12, "hidden_size": 20,
            "num_layers": 2, "num_refiner_layers": 1, "ffn_dim": 28, "in_channels": 2,
            "audio_in_channels": 6, "text_dim": 16, "freq_dim": 8, "time_embed_hidden_dim": 18,
            "time_embed_dim": 10, "rope_freq_dim": 2,
        },
    ),
    "lumina-2": (
        "Lumina2Transformer2DModel",
        {
            "sample_size": 8, "patch_size": 2, "in_channels": 4, "hidden_size": 24,
            "num_layers": 2, "num_refiner_layers": 1, "num_attention_heads": 6,
            "num_kv_heads": 2, "multiple_of": 4, "axes_dim_rope": (2, 2, 0),
            "axes_lens": (8, 8, 8), "cap_feat_dim": 20,
        },
    ),
    "ideogram-4": (
        "Ideogram4Transformer2DModel",
        {
            "in_channels": 8, "num_layers": 2, "attention_head_dim": 8,
            "num_attention_heads": 2, "intermediate_size": 40, "adaln_dim": 12,
            "llm_features_dim": 20, "mrope_section": (2, 1, 1),
        },
    ),
    "ernie-image": (
        "ErnieImageTransformer2DModel",
        {
            "hidden_size": 16, "num_attention_heads": 2, "num_layers": 2,
            "ffn_hidden_size": 40, "in_channels": 8, "out_channels": 8, "patch_size": 1,
            "text_in_dim": 20, "rope_axes_dim": (4, 2, 2),
        },
    ),
    "pixart": (
        "PixArtTransformer2DModel",
        {
            "num_attention_heads": 3, "attention_head_dim": 8, "in_channels": 4,
            "out_channels": 8, "num_layers": 2, "cross_attention_dim": 24, "sample_size": 8,
            "patch_size": 2, "caption_channels": 20, "use_additional_conditions": True,
        },
    ),
    "auraflow": (
        "AuraFlowTransformer2DModel",
        {
            "sample_size": 8, "patch_size": 2, "in_channels": 4, "num_mmdit_layers": 1,
            "num_single_dit_layers": 2, "attention_head_dim": 8, "num_attention_heads": 5,
            "joint_attention_dim": 20, "caption_projection_dim": 40, "out_channels": 4,
            "pos_embed_max_size": 16,
        },
    ),
    "sana": (
        "SanaTransformer2DModel",
        {
            "in_channels": 4, "out_channels": 4, "num_attention_heads": 11,
            "attention_head_dim": 8, "num_layers": 2, "num_cross_attention_heads": 2,
            "cross_attention_head_dim": 44, "cross_attention_dim": 88, "caption_channels": 20,
            "sample_size": 8,
        },
    ),
    "hunyuan-image-2.1": (
        "HunyuanImageTransformer2DModel",
        {
            "in_channels": 4, "out_channels": 4, "num_attention_heads": 5,
            "attention_head_dim": 8, "num_layers": 1, "num_single_layers": 2,
            "num_refiner_layers": 1, "mlp_ratio": 2.0, "patch_size": (1, 1),
            "text_embed_dim": 28, "text_embed_2_dim": 12, "rope_axes_dim": (4, 4),
        },
    ),
    "kandinsky-5": (
        "Kandinsky5Transformer3DModel",
        {
            "in_visual_dim": 4, "out_visual_dim": 4, "in_text_dim": 20, "in_text_dim2": 12,
            "time_dim": 16, "model_dim": 24, "ff_dim": 40, "num_text_blocks": 1,
            "num_visual_blocks": 2, "axes_dims": (2, 2, 4),
        },
    ),
    "cogvideox": (
        "CogVideoXTransformer3DModel",
        {
            "num_attention_heads": 12, "attention_head_dim": 8, "in_channels": 4,
            "out_channels": 4, "time_embed_dim": 12, "text_embed_dim": 20, "num_layers": 2,
            "sample_width": 8, "sample_height": 8, "sample_frames": 5,
            "max_text_seq_length": 8,
        },
    ),
    "mochi-1": (
        "MochiTransformer3DModel",
        {
            "num_attention_heads": 2, "attention_head_dim": 12, "num_layers": 2,
            "pooled_projection_dim": 16, "in_channels": 4, "text_embed_dim": 20,
            "time_embed_dim": 8, "max_sequence_length": 8,
        },
    ),
    "longcat-image": (
        "LongCatImageTransformer2DModel",
        {
            "in_channels": 4, "num_layers": 1, "num_single_layers": 2, "attention_head_dim": 8,
            "num_attention_heads": 10, "joint_attention_dim": 28, "pooled_projection_dim": 28,
            "axes_dims_rope": (2, 2, 4),
        },
    ),
}  # fmt: skip


def build(architecture: str, config: Mapping[str, Any]) -> Any:
    """The network itself, with weights."""
    import diffusers
    import transformers

    if hasattr(diffusers, architecture):
        return getattr(diffusers, architecture)(**config)
    network = getattr(transformers, architecture)
    return network(network.config_class(**config))


@pytest.mark.parametrize("name", TINY)
def test_layers_of_any_size_are_those_of_the_real_network(name: str) -> None:
    import torch

    architecture, config = TINY[name]
    modules = dict(build(architecture, config).named_modules())

    family = Family.from_config("tiny", architecture, config)

    linear = {n: m for n, m in modules.items() if isinstance(m, torch.nn.Linear)}
    assert list(family.layers) == list(linear), "in module order"
    assert all(family.layers[n] == tuple(m.weight.shape) for n, m in linear.items())
    convolutions = {n: m for n, m in modules.items() if isinstance(m, torch.nn.Conv2d)}
    shapes = {n: tuple(m.weight.shape) for n, m in convolutions.items()}
    assert family.convolutions == shapes


@pytest.mark.parametrize("name", TINY)
def test_every_bias_and_norm_of_the_real_network_is_a_vector(name: str) -> None:
    architecture, config = TINY[name]
    parameters = build(architecture, config).named_parameters()

    family = Family.from_config("tiny", architecture, config)

    assert family.vectors == {n: len(p) for n, p in parameters if p.dim() == 1}


@pytest.mark.parametrize("name", TINY)
def test_a_tiny_network_is_told_from_the_shipped_families(name: str) -> None:
    tiny = Family.from_config("tiny", *TINY[name])

    match = match_family(tiny.layers, (tiny, *FAMILIES))

    assert match.family is tiny


@pytest.mark.parametrize("family", [*FAMILIES, *LOOKALIKES], ids=lambda family: family.name)
def test_shipped_layers_are_those_of_diffusers(family: Family) -> None:
    """Where this fails after an update of diffusers, run `python -m encoder.base_models`."""
    facts = read_facts()[family.name]

    built = Family.from_facts(facts, json.dumps(pack(read_all_parameters(facts))))

    assert list(family.layers.items()) == list(built.layers.items())
    assert family.convolutions == built.convolutions
    assert family.vectors == built.vectors


@pytest.mark.parametrize(
    ("name", "count"),
    [
        # Published with the weights; Z-Image's two tokens that stand for padding are left out.
        ("flux.1", 11_901_408_320),
        ("flux.2-dev", 32_223_281_152),
        ("flux.2-klein-4b", 3_875_544_576),
        ("flux.2-klein-9b", 9_078_581_248),
        ("sdxl-1.0", 2_567_463_684),
        ("sd-1.5", 859_520_964),
        ("sd-2.1", 865_910_724),
        ("qwen-image", 20_430_401_088),
        ("z-image", 6_154_908_736 - 2 * 3840),
        ("qwen-image-2.1", 7_115_124_736),
    ],
)
def test_families_have_as_many_parameters_as_the_published_weights(name: str, count: int) -> None:
    """One wrong number in a config would show here."""
    family = next(family for family in (*FAMILIES, *LOOKALIKES) if family.name == name)

    shapes = [*family.layers.values(), *family.convolutions.values()]
    assert sum(map(math.prod, shapes)) + sum(family.vectors.values()) == count


@pytest.mark.parametrize(
    ("name", "published"),
    [
        # As the model cards have them, in billions, with tables of places where cards count
        # those; kernels of three axes and tables are not among our layers.
        ("chroma", 8.9), ("krea-2", 12.9), ("hidream-i1", 17), ("hidream-o1", 8.77),
        ("sd-3", 2.0), ("sd-3.5-medium", 2.24), ("sd-3.5-large", 8.1), ("anima", 2.1),
        ("wan-2.1-1.3b", 1.42), ("wan-2.1-14b", 14.3), ("wan-2.1-i2v-14b", 16.4),
        ("wan-2.2-5b", 5.0), ("hunyuan-video", 13), ("hunyuan-video-1.5", 8.3),
        ("ltx-video-2b", 1.92), ("ltx-video-13b", 13), ("ltx-2.0", 19), ("ltx-2.3", 19),
        ("minimax-h3", 33), ("lumina-2", 2.6), ("ideogram-4", 9.3), ("ernie-image", 8.0),
        ("pixart-alpha", 0.61), ("pixart-sigma", 0.61), ("auraflow", 6.8), ("kolors", 2.6),
        ("sana-0.6b", 0.59), ("sana-1.6b", 1.6), ("sana-1.5-4.8b", 4.8), ("kandinsky-5-image", 6),
        ("kandinsky-5-video-lite", 2), ("kandinsky-5-video-pro", 19), ("mochi-1", 10),
    ],
)  # fmt: skip
def test_families_are_as_large_as_published(name: str, published: float) -> None:
    """Rounded as they are published, so that a block more or less of most would show."""
    family = next(family for family in (*FAMILIES, *LOOKALIKES) if family.name == name)

    shapes = [*family.layers.values(), *family.convolutions.values()]
    count = sum(map(math.prod, shapes)) + sum(family.vectors.values())
    # Embeddings of words are no layers.
    words = 151_936 * 4096 if name == "hidream-o1" else 0
    assert (count + words) / 1e9 == pytest.approx(published, rel=0.02)


@pytest.mark.parametrize(
    ("name", "published"),
    # CogVideoX-5B has 5.6.
    [("hunyuan-image-2.1", 17), ("longcat-image", 6), ("cogvideox-2b", 2), ("cogvideox-5b", 6)],
)
def test_families_are_as_large_as_they_are_rounded(name: str, published: int) -> None:
    family = next(family for family in FAMILIES if family.name == name)

    shapes = [*family.layers.values(), *family.convolutions.values()]
    assert round((sum(map(math.prod, shapes)) + sum(family.vectors.values())) / 1e9) == published


def test_all_shipped_layers_are_used() -> None:
    names = {path.stem for path in LAYERS.glob("*.json")}

    assert names == {family.name for family in (*FAMILIES, *LOOKALIKES)}


@pytest.mark.parametrize(
    ("base_model", "family"),
    [
        ("flux.1-dev", "flux.1"),
        ("flux.1-kontext-dev", "flux.1"),
        ("flux.2-klein-base-9b", "flux.2-klein-9b"),
        ("pony", "sdxl-1.0"),
        ("noobai", "sdxl-1.0"),
        ("sd-2.0", "sd-2.1"),
        ("qwen-image-edit-2511", "qwen-image"),
        ("z-image-turbo", "z-image"),
        ("z-image-something", "z-image"),
        ("chroma-radiance", "chroma"),
        ("wan-2.2-i2v-a14b", "wan-2.1-14b"),
        ("hunyuan-video-1.5-something", "hunyuan-video-1.5"),
        ("sana-sprint-1.6b", "sana-1.6b"),
        ("cogvideox-1.5-5b-i2v", "cogvideox-5b"),
        ("kolors", "kolors"),
        ("kandinsky-5", None),
        # Names that begin like ours, of other networks.
        ("flux.1-lite", None),
        ("flex.1-alpha", None),
        ("qwen-image-2.1", None),
        ("qwen3-vl-8b", None),
        ("flux.2", None),
        ("wan", None),
        ("flux.10", None),
        ("unknown", None),
    ],
)
def test_variants_belong_to_their_family(base_model: str, family: str | None) -> None:
    found = find_family(base_model)

    assert (found and found.name) == family


@pytest.mark.parametrize(
    ("name", "blocks", "first", "last"),
    [
        ("flux.1", 494, "transformer_blocks.0.norm1.linear", "37.attn.to_v"),
        ("demo-flux-tiny", 52, "transformer_blocks.0.norm1.linear", "3.attn.to_v"),
        ("sdxl-1.0", 739, "down_blocks.0.resnets.0.time_emb_proj", "resnets.1.time_emb_proj"),
        ("sd-1.5", 182, "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q", None),
        ("qwen-image", 840, "transformer_blocks.0.img_mod.1", "59.txt_mlp.net.2"),
        ("z-image", 270, "noise_refiner.0.attention.to_q", "layers.29.adaLN_modulation.0"),
    ],
)
def test_block_layers_and_their_order_never_change(
    name: str, blocks: int, first: str, last: str | None
) -> None:
    """Stored sketches and shipped bases have one entry a layer, in this order."""
    family = find_family(name)
    assert family is not None

    layers = list(family.block_layers)

    assert len(layers) == blocks
    assert layers[0] == first
    assert last is None or layers[-1].endswith(last)


def test_flux_blocks_keep_the_order_that_stored_sketches_have() -> None:
    family = find_family("flux.1")
    assert family is not None

    attention = ["to_q", "to_k", "to_v", "to_out.0"]
    added = ["add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"]
    double = [
        "norm1.linear", "norm1_context.linear", *(f"attn.{n}" for n in attention + added),
        "ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2",
    ]  # fmt: skip
    single = ["norm.linear", "proj_mlp", "proj_out", *(f"attn.{n}" for n in attention[:3])]
    assert list(family.block_layers) == [
        *(f"transformer_blocks.{i}.{name}" for i in range(19) for name in double),
        *(f"single_transformer_blocks.{i}.{name}" for i in range(38) for name in single),
    ]


def test_the_demo_base_has_the_layers_of_its_family() -> None:
    config = json.loads((DEMO_BASE / "transformer" / "config.json").read_text())
    architecture = config["_class_name"]
    values = {name: value for name, value in config.items() if not name.startswith("_")}

    built = Family.from_config("demo", architecture, values)

    family = find_family("demo-flux-tiny")
    assert family is not None
    assert list(family.layers.items()) == list(built.layers.items())


def test_packing_joins_equal_blocks_and_loses_nothing() -> None:
    parameters: dict[str, tuple[int, ...]] = {
        f"blocks.{i}.to_q.weight": (8, 4 if i < 5 else 2) for i in range(9)
    }
    parameters["x.2-1.bias"] = (8,)

    tree = pack(parameters)

    assert list(unpack(tree).items()) == list(parameters.items())
    assert list(tree["blocks"]) == ["0..4", "5..8"]
    assert list(unpack_first(tree)) == [
        "blocks.0.to_q.weight", "blocks.5.to_q.weight", "x.2-1.bias"
    ]  # fmt: skip


def test_a_class_that_diffusers_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="has no class 'NoTransformer'"):
        Family.from_config("x", "NoTransformer", {})
    with pytest.raises(ValueError, match="not a config of FluxTransformer2DModel"):
        Family.from_config("x", "FluxTransformer2DModel", {"blocks": 3})
    with pytest.raises(ValueError, match="where are its blocks"):
        Family.from_config("x", "AutoencoderTiny", {})


def test_families_are_hashable_and_equal_by_content() -> None:
    one, same = (Family.from_config("tiny", *TINY["flux.1"]) for _ in range(2))

    assert len({one, same, *FAMILIES}) == len(FAMILIES) + 1


def test_importing_families_loads_neither_torch_nor_diffusers() -> None:
    code = (
        "import sys; from encoder.base_models.families import FAMILIES; "
        "FAMILIES[0].layers; print(*sys.modules)"
    )

    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()

    assert not {"torch", "diffusers"} & set(loaded)
