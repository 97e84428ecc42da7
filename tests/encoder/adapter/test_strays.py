"""Files with something odd in them that others read: so are they here, and the odd is named."""

import json
import struct
from pathlib import Path

import pytest
import torch
from torch import Tensor

from encoder.adapter.lora_file import inspect, read
from encoder.adapter.safetensors_header import read_header
from encoder.errors import UnsupportedLoraError
from tests.encoder.builders import make_factors, write_adapter, write_header, write_tensors

Tensors = dict[str, Tensor]
QUERY = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
KEY = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"


def pair(stem: str, outputs: int, inputs: int, rank: int = 2, seed: int = 0) -> Tensors:
    generator = torch.Generator().manual_seed(seed)
    return {
        f"{stem}.lora_down.weight": torch.randn(rank, inputs, generator=generator),
        f"{stem}.lora_up.weight": torch.randn(outputs, rank, generator=generator),
    }


def flat(name: str) -> str:
    return name.replace(".", "_")


def save(folder: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> Path:
    return write_tensors(folder / "x.safetensors", tensors, metadata or {})


@pytest.mark.parametrize(
    "prefix",
    ["base_model.model.base_model.model.", "base_model.model.unet.", "lora_unet_unet_",
     "lora_unet__", "lora_unet_"],
)  # fmt: skip
def test_prefixes_may_be_doubled(tmp_path: Path, prefix: str) -> None:
    name = flat(KEY) if prefix.startswith("lora_unet") else KEY
    weights = read(save(tmp_path, pair(f"{prefix}{name}", 320, 768)))

    assert list(weights.layers) == [KEY]
    assert weights.base_model == "sd-1.5"


@pytest.mark.parametrize("prefix", ["module.", "unet._orig_mod.", "module._fsdp_wrapped_module."])
def test_what_pytorch_wraps_modules_in_is_no_part_of_their_names(
    tmp_path: Path, prefix: str
) -> None:
    """Compiled whole or by blocks, on several GPUs, or with activations computed again."""
    name = KEY.replace(".attn", "._orig_mod.attn", 1).replace(".0.", ".0._orig_mod.", 1)
    weights = read(save(tmp_path, pair(f"{prefix}{name}", 320, 768)))

    assert list(weights.layers) == [KEY]


def test_a_module_of_nothing_known_is_named_beside_what_the_rest_tells(tmp_path: Path) -> None:
    """Its other layers, and no name that it shares with another base, tell what it is for."""
    stem = "diffusion_model."
    tensors = {
        **pair(f"{stem}double_blocks.7.img_attn.proj", 4096, 4096),
        **pair(f"{stem}single_blocks.23.linear2", 4096, 16384),
        **pair(f"{stem}llm_adapter.proj", 4096, 4096),
    }
    path = save(tmp_path, tensors)

    for verdict in (read(path).verdict, inspect(read_header(path), path)):
        assert verdict.base_model == "flux.2-klein-9b"
        assert verdict.unmatched == ("llm_adapter.proj",)
        assert verdict.loadable
        assert not verdict.fusable
        assert "llm_adapter.proj" in verdict.reasons[0]


def test_a_name_that_fits_with_another_shape_is_a_stray(tmp_path: Path) -> None:
    """A kernel of one pixel where the base has one of nine; SDXL has the name as well."""
    stem = "lora_unet_down_blocks_0_resnets_0_conv1"
    tensors = pair(f"lora_unet_{flat(KEY)}", 320, 768)
    tensors[f"{stem}.lora_down.weight"] = torch.ones(4, 320, 1, 1)
    tensors[f"{stem}.lora_up.weight"] = torch.ones(320, 4, 1, 1)

    verdict = read(save(tmp_path, tensors)).verdict

    assert (verdict.base_model, verdict.confidence) == ("sd-1.5", "likely")
    assert verdict.unmatched == ("down_blocks_0_resnets_0_conv1",)


def test_the_second_matrix_of_a_convolution_may_be_stored_flat(tmp_path: Path) -> None:
    """As Draw Things exports it."""
    generator = torch.Generator().manual_seed(0)
    down, up = (torch.randn(s, generator=generator) for s in ((4, 320, 3, 3), (320, 4)))
    stem = "lora_unet_input_blocks_1_0_in_layers_2"
    tensors = {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
    path = save(tmp_path, tensors | pair(f"lora_unet_{flat(KEY)}", 320, 768))
    weights = read(path)

    change = weights.layers["down_blocks.0.resnets.0.conv1"].delta()
    torch.testing.assert_close(change.flatten(1), up @ down.flatten(1))
    assert inspect(read_header(path), path).kinds == {"LoCon": 1, "LoRA": 1}


def test_a_tensor_of_no_module_is_named(tmp_path: Path) -> None:
    tensors = pair(f"lora_unet_{flat(KEY)}", 320, 768)
    tensors["lora_strength_placeholder"] = torch.ones(1)

    verdict = read(save(tmp_path, tensors)).verdict

    assert verdict.base_model == "sd-1.5"
    assert verdict.unmatched == ("lora_strength_placeholder",)
    assert not verdict.fusable


def test_an_unknown_part_of_a_module_is_no_stray(tmp_path: Path) -> None:
    """Without it, the module would be another."""
    tensors = pair(f"lora_unet_{flat(KEY)}", 320, 768)
    tensors[f"lora_unet_{flat(KEY)}.lora_wave"] = torch.ones(1)

    with pytest.raises(UnsupportedLoraError, match=r"attn2_to_k\.lora_wave' is of no kind known"):
        read(save(tmp_path, tensors))


def both(same: bool) -> Tensors:
    """A fused projection, and its three parts beside it."""
    stem = "lora_unet_layers_0_attention_"
    fused = pair(f"{stem}qkv", 3 * 3840, 3840)
    tensors = dict(fused)
    ups = fused[f"{stem}qkv.lora_up.weight"].chunk(3)
    for side, up in zip("qkv", ups, strict=True):
        tensors[f"{stem}to_{side}.lora_down.weight"] = fused[f"{stem}qkv.lora_down.weight"].clone()
        tensors[f"{stem}to_{side}.lora_up.weight"] = up.clone() if same else 1.1 * up
    return tensors


def test_equal_tensors_twice_are_taken_once(tmp_path: Path) -> None:
    path = save(tmp_path, both(same=True))
    weights = read(path)

    assert (weights.base_model, len(weights.layers)) == ("z-image", 3)
    assert "3 layers are there twice, alike, and taken once" in weights.verdict.reasons
    assert inspect(read_header(path), path).layers == 3


@pytest.mark.parametrize("trained", ["to_qkv", "to_q"])
def test_zeros_beside_what_was_trained_are_left_out(tmp_path: Path, trained: str) -> None:
    """As SimpleTuner saves them; of their names, some come before the fused layer's, some after."""
    stem, sizes = "lycoris_transformer_blocks_27_attn_", {"to_q": 6144, "to_k": 1536, "to_v": 1536}
    tensors: Tensors = {}
    for name, outputs in {**sizes, "to_qkv": 9216}.items():
        tensors |= pair(f"{stem}{name}", outputs, 6144)
        if (name == "to_qkv") != (trained == "to_qkv"):
            tensors[f"{stem}{name}.lora_up.weight"] = torch.zeros(outputs, 2)
    path = save(tmp_path, tensors)
    weights = read(path)

    assert (weights.base_model, len(weights.layers)) == ("krea-2", 3)
    assert weights.verdict.zero_layers == ()
    assert "3 layers are there twice, once as zeros, which are left out" in weights.verdict.reasons
    query = weights.layers["transformer_blocks.27.attn.to_q"]
    up = tensors[f"{stem}{trained}.lora_up.weight"][:6144]
    torch.testing.assert_close(
        query.delta()[:8], up[:8] @ tensors[f"{stem}{trained}.lora_down.weight"]
    )
    # Of a header, nobody knows yet which are zeros.
    assert inspect(read_header(path), path).reasons == ("3 layers are there twice",)


def test_different_tensors_for_one_layer_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedLoraError, match=r"two sets of tensors .* differ"):
        read(save(tmp_path, both(same=False)))


@pytest.mark.parametrize("same", [True, False])
def test_an_adapter_under_two_programs_names_is_taken_once(tmp_path: Path, same: bool) -> None:
    """Also where a name is the same in both, for it has no dot."""
    fused = pair("lora_unet_double_blocks_7_img_attn_qkv", 3 * 4096, 4096)
    tensors = {**fused, **pair("lora_unet_x_embedder", 4096, 128)}
    tensors |= pair("transformer.x_embedder", 4096, 128, seed=0 if same else 1)
    down, up = fused.values()
    for side, rows in zip("qkv", up.chunk(3), strict=True):
        stem = f"transformer.transformer_blocks.7.attn.to_{side}"
        tensors |= {f"{stem}.lora_A.weight": down.clone(), f"{stem}.lora_B.weight": rows.clone()}
    path = save(tmp_path, tensors, {"modelspec.architecture": "flux2_klein_9b"})

    if not same:
        with pytest.raises(UnsupportedLoraError, match="for layer x_embedder, and they differ"):
            read(path)
        return
    weights = read(path)
    assert (weights.base_model, len(weights.layers)) == ("flux.2-klein-9b", 4)
    assert weights.verdict.unmatched == ()
    assert "4 layers are there twice, alike, and taken once" in weights.verdict.reasons
    assert inspect(read_header(path), path).reasons == ("4 layers are there twice",)


def test_a_rank_above_the_layers_width_is_legal(tmp_path: Path) -> None:
    tensors = pair(f"lora_unet_{flat(QUERY)}", 320, 320, rank=384)
    tensors |= pair(f"lora_unet_{flat(KEY)}", 320, 768)
    weights = read(save(tmp_path, tensors))

    assert weights.verdict.ranks == (2, 2, 384)
    assert weights.verdict.fusable


def test_metadata_of_null_is_none(tmp_path: Path) -> None:
    path = write_adapter(tmp_path / "x.safetensors", make_factors(), metadata={})
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length]) | {"__metadata__": None}
    path = write_header(tmp_path / "null.safetensors", header, raw[8 + length :])

    assert read(path).verdict.layers == 52


def test_prefixes_with_dots_may_be_mixed(tmp_path: Path) -> None:
    """As in fal's files for FLUX.2: one before diffusers' names, another before the authors'."""
    tensors = {
        **pair("transformer.transformer_blocks.0.attn.to_q", 4096, 4096),
        **pair("diffusion_model.double_blocks.1.img_attn.proj", 4096, 4096),
        **pair("diffusion_model.single_blocks.23.linear2", 4096, 16384),
    }
    weights = read(save(tmp_path, tensors))

    assert weights.base_model == "flux.2-klein-9b"
    assert set(weights.layers) == {
        "transformer_blocks.0.attn.to_q",
        "transformer_blocks.1.attn.to_out.0",
        "single_transformer_blocks.23.attn.to_out",
    }
    assert weights.verdict.fusable


def test_text_encoders_under_peft_s_prefix_are_text_encoders(tmp_path: Path) -> None:
    peft, clip = "base_model.model.", "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"
    tensors = {**pair(f"{peft}unet.{KEY}", 320, 768), **pair(f"{peft}{clip}", 768, 768)}
    weights = read(save(tmp_path, tensors))

    assert list(weights.layers) == [KEY]
    assert weights.verdict.parts == {"text_encoder": 1, "unet": 1}


def test_kernels_over_time_and_modulations_are_named_beside_the_rest(tmp_path: Path) -> None:
    """As in the distilled adapters of Wan, which hold the difference of everything."""
    tensors: Tensors = {}
    for block in (f"diffusion_model.blocks.{i}" for i in range(3)):
        tensors |= pair(f"{block}.self_attn.q", 1536, 1536)
        tensors[f"{block}.self_attn.q.diff_b"] = torch.ones(1536)
        tensors[f"{block}.diff_m"] = torch.ones(1, 6, 1536)
    tensors["diffusion_model.head.diff_m"] = torch.ones(1, 2, 1536)
    tensors["diffusion_model.patch_embedding.diff"] = torch.ones(1536, 16, 1, 2, 2)
    tensors["diffusion_model.patch_embedding.diff_b"] = torch.ones(1536)
    path = save(tmp_path, tensors)

    for verdict in (read(path).verdict, inspect(read_header(path), path)):
        assert verdict.base_model == "wan-2.1-1.3b"
        assert verdict.loadable
        assert set(verdict.unmatched) == {
            "patch_embedding", "head.diff_m", *(f"blocks.{i}.diff_m" for i in range(3))
        }  # fmt: skip


def test_kernels_over_time_alone_are_no_adapter(tmp_path: Path) -> None:
    kernel = {"diffusion_model.patch_embedding.diff": torch.ones(8, 4, 1, 2, 2)}
    with pytest.raises(UnsupportedLoraError, match="only kernels over time"):
        read(save(tmp_path, kernel))


def test_a_name_may_end_with_an_underscore(tmp_path: Path) -> None:
    """A trainer's dots before the suffix, flattened with the others."""
    weights = read(save(tmp_path, pair(f"lora_unet_{flat(KEY)}_", 320, 768)))

    assert list(weights.layers) == [KEY]


def test_names_of_wans_layers_for_pictures_may_have_a_dot(tmp_path: Path) -> None:
    tensors = pair("diffusion_model.blocks.0.cross_attn.k.img", 5120, 5120)
    weights = read(save(tmp_path, tensors))

    assert list(weights.layers) == ["blocks.0.attn2.add_k_proj"]
    assert weights.base_model == "wan-2.1-i2v-14b"


@pytest.mark.parametrize(
    ("layer", "size", "norms"),
    [
        (
            "diffusion_model.double_blocks.18.img_attn.proj", (3072, 3072),
            {
                "double_blocks.18.img_attn.norm.query_norm": "transformer_blocks.18.attn.norm_q",
                "double_blocks.18.txt_attn.norm.key_norm":
                    "transformer_blocks.18.attn.norm_added_k",
                "single_blocks.37.norm.key_norm": "single_transformer_blocks.37.attn.norm_k",
            },
        ),
        (
            "diffusion_model.blocks.27.attn.wo", (6144, 6144),
            {
                "blocks.27.attn.qknorm.qnorm": "transformer_blocks.27.attn.norm_q",
                "txtfusion.refiner_blocks.0.attn.qknorm.knorm":
                    "text_fusion.refiner_blocks.0.attn.norm_k",
            },
        ),
    ],
)  # fmt: skip
def test_norms_of_queries_and_keys_have_the_authors_names(
    tmp_path: Path, layer: str, size: tuple[int, int], norms: dict[str, str]
) -> None:
    """ComfyUI's own trainer writes a difference of each."""
    tensors = pair(layer, *size)
    tensors |= {f"diffusion_model.{name}.diff": torch.ones(128) for name in norms}
    weights = read(save(tmp_path, tensors))

    assert set(weights.vectors) == {f"{name}.weight" for name in norms.values()}
    assert weights.verdict.unmatched == ()


# Base model -> a layer of it as ComfyUI names it, and its size; what ComfyUI's own trainer changes
# beside such layers, as diffusers names it, and how many numbers long.
MODEL = "diffusion_model."
REFINER = "txt_in.individual_token_refiner.blocks.1"
REFINED = "context_embedder.token_refiner.refiner_blocks.1"
NORMS: dict[str, tuple[str, tuple[int, int], dict[str, tuple[str, int]]]] = {
    "sd-3.5-large": ("joint_blocks.37.x_block.mlp.fc1", (9728, 2432), {
        "joint_blocks.37.x_block.attn.ln_q": ("transformer_blocks.37.attn.norm_q", 64),
        "joint_blocks.0.context_block.attn.ln_k": ("transformer_blocks.0.attn.norm_added_k", 64),
    }),
    "sd-3.5-medium": ("joint_blocks.0.x_block.attn2.proj", (1536, 1536), {
        "joint_blocks.0.x_block.attn2.ln_k": ("transformer_blocks.0.attn2.norm_k", 64),
    }),
    "hunyuan-video-1.5": ("double_blocks.53.img_attn.proj", (2048, 2048), {
        "double_blocks.53.img_attn.norm.query_norm": ("transformer_blocks.53.attn.norm_q", 128),
        "double_blocks.53.txt_attn.norm.key_norm":
            ("transformer_blocks.53.attn.norm_added_k", 128),
        "double_blocks.0.txt_attn_q_norm": ("transformer_blocks.0.attn.norm_added_q", 128),
        f"{REFINER}.norm2": (f"{REFINED}.norm2", 2048),
        "byt5_in.layernorm": ("context_embedder_2.norm", 1472),
        "vision_in.proj.0": ("image_embedder.norm_in", 1152),
    }),
    "hunyuan-video": ("single_blocks.39.linear2", (3072, 15360), {
        "single_blocks.39.q_norm": ("single_transformer_blocks.39.attn.norm_q", 128),
        f"{REFINER}.norm1": (f"{REFINED}.norm1", 3072),
    }),
    "ltx-video-2b": ("transformer_blocks.27.ff.net.2", (2048, 8192), {
        "transformer_blocks.27.attn1.q_norm": ("transformer_blocks.27.attn1.norm_q", 2048),
    }),
    "ltx-2": ("transformer_blocks.47.audio_attn1.to_q", (2048, 2048), {
        "transformer_blocks.0.audio_to_video_attn.k_norm":
            ("transformer_blocks.0.audio_to_video_attn.norm_k", 2048),
    }),
}  # fmt: skip


@pytest.mark.parametrize("base", NORMS)
def test_all_norms_that_comfyui_trains_have_a_place(tmp_path: Path, base: str) -> None:
    """They are a fifth of what it changes and more: too many to be named and left out."""
    layer, size, norms = NORMS[base]
    tensors = pair(MODEL + layer, *size)
    tensors |= {f"{MODEL}{name}.diff": torch.ones(length) for name, (_, length) in norms.items()}
    weights = read(save(tmp_path, tensors))

    assert weights.base_model == base
    assert set(weights.vectors) == {f"{name}.weight" for name, _ in norms.values()}
    assert weights.verdict.unmatched == ()


def test_layers_outside_hunyuan_videos_blocks_have_comfyuis_names(tmp_path: Path) -> None:
    known = {
        f"{REFINER}.self_attn.proj": (f"{REFINED}.attn.to_out.0", (2048, 2048)),
        f"{REFINER}.mlp.0": (f"{REFINED}.ff.net.0.proj", (8192, 2048)),
        "txt_in.c_embedder.in_layer":
            ("context_embedder.time_text_embed.text_embedder.linear_1", (2048, 3584)),
        "txt_in.t_embedder.out_layer":
            ("context_embedder.time_text_embed.timestep_embedder.linear_2", (2048, 2048)),
        "time_in.in_layer": ("time_embed.timestep_embedder.linear_1", (2048, 256)),
        "time_in.mlp.2": ("time_embed.timestep_embedder.linear_2", (2048, 2048)),
        "vision_in.proj.3": ("image_embedder.linear_2", (2048, 1152)),
        "final_layer.linear": ("proj_out", (32, 2048)),
        "final_layer.adaLN_modulation.1": ("norm_out.linear", (4096, 2048)),
    }  # fmt: skip
    tensors = pair(f"{MODEL}double_blocks.53.img_attn.proj", 2048, 2048)
    for name, (_, size) in known.items():
        tensors |= pair(MODEL + name, *size)
    weights = read(save(tmp_path, tensors))

    block = "transformer_blocks.53.attn.to_out.0"
    assert set(weights.layers) == {block, *(ours for ours, _ in known.values())}
    assert weights.base_model == "hunyuan-video-1.5"


@pytest.mark.parametrize("prefix", ["diffusion_model.", "lora_unet_"])
def test_layers_that_draw_pixels_are_radiances(tmp_path: Path, prefix: str) -> None:
    """Its blocks are Chroma's, whose adapters it does not take."""
    separator = "_" if prefix.endswith("_") else "."
    tensors: dict[str, Tensor] = {}
    for i in range(19):
        for part in ("img_attn.proj", "txt_attn.proj"):
            name = f"double_blocks.{i}.{part}".replace(".", separator)
            tensors |= pair(prefix + name, 3072, 3072)
    name = "nerf_blocks.0.param_generator".replace(".", separator)
    tensors |= pair(prefix + name, 49152, 3072)
    verdict = read(save(tmp_path, tensors)).verdict

    assert verdict.base_model == "chroma-radiance"
    assert len(verdict.unmatched) == 1


@pytest.mark.parametrize(
    ("fused", "size", "parts", "base"),
    [
        ("transformer_blocks.0.attn1.qkv", (3456, 1152), "qkv", "pixart"),
        ("transformer_blocks.0.attn2.kv", (2304, 1152), "kv", "pixart"),
        ("transformer_blocks.0.attn2.qkv", (4608, 1536), "qkv", "sd-3.5-medium"),
        (
            "context_embedder.token_refiner.refiner_blocks.0.attn.qkv", (6144, 2048), "qkv",
            "hunyuan-video-1.5",
        ),
    ],
)  # fmt: skip
def test_what_onetrainer_fuses_for_itself_is_read(
    tmp_path: Path, fused: str, size: tuple[int, int], parts: str, base: str
) -> None:
    """Its backups keep the names of fused layers that other formats put back."""
    weights = read(save(tmp_path, pair(f"transformer.{fused}", *size)))

    attention = fused.rpartition(".")[0]
    assert set(weights.layers) == {f"{attention}.to_{part}" for part in parts}
    assert weights.verdict.unmatched == ()
    assert weights.base_model == base
