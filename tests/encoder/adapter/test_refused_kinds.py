"""What is no adapter of an image model: refused, with its one true cause, never published."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from encoder.adapter.lora_file import inspect, read
from encoder.adapter.safetensors_header import read_header
from encoder.errors import UnsupportedLoraError
from tests.encoder.builders import write_tensors

Tensors = dict[str, Tensor]
PEFT = "base_model.model."


def lora(*modules: str, width: int = 8) -> Tensors:
    tensors = {}
    for module in modules:
        tensors[f"{module}.lora_A.weight"] = torch.ones(2, width)
        tensors[f"{module}.lora_B.weight"] = torch.ones(width, 2)
    return tensors


def blocks(template: str, count: int = 3) -> Tensors:
    return lora(*(template.format(i) for i in range(count)))


# As PEFT writes them for tiny models of transformers, one attention layer of each block.
NETWORKS = {
    "transformer.h.{}.attn.c_attn": "language model (GPT-2's names)",
    "transformer.h.{}.attn.attention.q_proj": "language model (GPT-Neo's names)",
    "transformer.h.{}.attn.q_proj": "language model (GPT-J's names)",
    "transformer.h.{}.self_attention.query_key_value": "language model (Falcon's and BLOOM's",
    "transformer.encoder.layers.{}.self_attention.query_key_value": "language model (ChatGLM's",
    "transformer.layers.{}.attention.query_key_value": "language model (ChatGLM's",
    "transformer.h.{}.mlp.w1": "language model (Qwen's",
    "transformer.blocks.{}.attn.Wqkv": "language model (MPT's",
    "gpt_neox.layers.{}.attention.query_key_value": "language model (GPT-NeoX's",
    "model.layers.{}.self_attn.q_proj": "language model (Llama's",
    "model.language_model.layers.{}.self_attn.q_proj": "vision-language model (Qwen-VL's",
    "model.decoder.layers.{}.encoder_attn.q_proj": "language or speech model (Whisper's",
    "encoder.block.{}.layer.0.SelfAttention.q": "language model (T5's",
    "bert.encoder.layer.{}.attention.self.query": "language model (BERT's",
    "vit.encoder.layer.{}.attention.attention.query": "vision model (ViT's",
    "vision_model.encoder.layers.{}.self_attn.q_proj": "vision model (CLIP's",
    "vision_encoder.layers.{}.attn.qkv": "vision model (Segment Anything's",
    "wav2vec2.encoder.layers.{}.attention.q_proj": "speech model (wav2vec 2.0's",
    "layers.{}.cross_attn.q_proj": "music model (ACE-Step's",
    "text_model.encoder.layers.{}.self_attn.q_proj": "the text encoder's half of a LoRA",
}
FILES: dict[str, Tensors] = {
    "a textual inversion (of the token 'my-cat')": {"my-cat": torch.ones(1, 768)},
    "a textual inversion, not": {"<cat>": torch.ones(768)},
    "is a textual inversion, not a": {"emb_params": torch.ones(3, 1024)},
    "is a textual inversion": {"clip_l": torch.ones(3, 768), "clip_g": torch.ones(3, 1280)},
    "a textual inversion": {"t5": torch.ones(3, 4096)},
    "textual inversion": {"clip_l_out": torch.ones(3, 768), "t5_out": torch.ones(3, 4096)},
    "a hypernetwork": {
        f"320.{i}.linear.{j}.{kind}": torch.ones(320)
        for i in (0, 1) for j in (0, 2) for kind in ("weight", "bias")
    },
    "a ControlNet-LoRA": {
        "lora_controlnet": torch.ones(0),
        "input_blocks.1.1.proj_in.up": torch.ones(320, 4),
        "input_blocks.1.1.proj_in.down": torch.ones(4, 320),
    },
    "a ControlNet-LLLite": lora("lllite_unet_down_blocks_0"),
    "a ControlNet's part": {"control_model.zero_convs.0.0.weight": torch.ones(2, 2, 1, 1)},
    "an AnimateDiff motion LoRA": lora("down_blocks.0.motion_modules.0.proj_in"),
    "DiffSynth's timestep-aware LoRA": {
        **lora(f"{PEFT}transformer_blocks.0.attn.to_q"),
        f"{PEFT}transformer_blocks.0.attn.to_q.lora_time_gamma.weight": torch.ones(2, 256),
        f"{PEFT}transformer_blocks.0.attn.to_q.lora_time_beta.bias": torch.ones(2),
    },
    "vision model (Segment Anything's names)": {
        f"w_{side}_{i:03d}": torch.ones(4, 768) for side in "ab" for i in range(3)
    },
    "a whole model or a part of one": {
        "model.diffusion_model.input_blocks.0.0.weight": torch.ones(4, 4),
        "model.diffusion_model.input_blocks.0.0.bias": torch.ones(4),
    },
}  # fmt: skip


# What PEFT adds to a module for its kinds that are no LoRA, one tensor of each.
PEFT_KINDS = (
    "beft_bias", "deft_P", "frod_lambda_l", "ln_tuning_layers.weight", "osf_svd_params.S_low",
    "peanut_A.weight", "psoft_R.weight", "pvera_lambda_b", "supertuning_values", "tinylora_A",
    "trainable_tokens_delta", "vera_lambda_b",
)  # fmt: skip


@pytest.mark.parametrize("tensor", PEFT_KINDS)
def test_a_kind_of_pefts_is_called_one(tmp_path: Path, tensor: str) -> None:
    """Not a whole model, which its names that end in "weight" look like."""
    tensors = {f"{PEFT}transformer_blocks.0.attn.to_q.{tensor}": torch.ones(8)}
    path = write_tensors(tmp_path / "x.safetensors", tensors, {})
    with pytest.raises(UnsupportedLoraError, match="a kind of PEFT's that is no LoRA"):
        read(path)


def test_kasa_is_no_lora_though_it_has_one_besides(tmp_path: Path) -> None:
    """It cuts the base's weights too, and has a diagonal between the factors."""
    module = f"{PEFT}transformer_blocks.0.attn.to_q"
    tensors = {**lora(module), f"{module}.lora_diag": torch.ones(2)}
    path = write_tensors(tmp_path / "x.safetensors", tensors, {})
    with pytest.raises(UnsupportedLoraError, match="a kind of PEFT's that is no LoRA"):
        read(path)


@pytest.mark.parametrize("prefix", [PEFT, "", PEFT + PEFT])
@pytest.mark.parametrize("template", NETWORKS)
def test_an_adapter_of_another_network_is_named(tmp_path: Path, template: str, prefix: str) -> None:
    path = write_tensors(tmp_path / "x.safetensors", blocks(prefix + template), {})

    for look in (read, lambda path: inspect(read_header(path), path)):
        with pytest.raises(UnsupportedLoraError) as caught:
            look(path)
        assert NETWORKS[template] in str(caught.value)
        assert str(caught.value).endswith("it changes no layer of an image model")


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_kind_is_named(tmp_path: Path, name: str) -> None:
    path = write_tensors(tmp_path / "x.safetensors", FILES[name], {})

    with pytest.raises(UnsupportedLoraError) as caught:
        read(path)

    assert name in str(caught.value)
    assert str(caught.value).count("; ") <= 1, "one cause"


@pytest.mark.parametrize(
    "names",
    [
        # FLUX.1, with norms as its control LoRAs have, and in scaled float8.
        ("double_blocks.0.img_attn.qkv.weight", "double_blocks.0.img_attn.qkv.bias",
         "double_blocks.0.img_attn.qkv.scale_weight", "img_in.weight", "img_in.bias",
         "double_blocks.0.img_attn.norm.key_norm.scale"),
        # SDXL, with what is no weight.
        ("model.diffusion_model.out.0.weight", "first_stage_model.quant_conv.bias",
         "conditioner.embedders.0.transformer.text_model.embeddings.position_ids"),
        ("decoder.conv_in.weight", "encoder.conv_in.bias"),
    ],
)  # fmt: skip
def test_a_whole_model_is_called_one(tmp_path: Path, names: tuple[str, ...]) -> None:
    tensors = {name: torch.ones(2, 2) for name in names}
    path = write_tensors(tmp_path / "x.safetensors", tensors, {})

    with pytest.raises(UnsupportedLoraError, match="no adapter but a whole model"):
        read(path)


def test_language_layers_under_the_names_of_image_programs_are_left_to_shapes(
    tmp_path: Path,
) -> None:
    """HiDream-O1 is a language model with image layers; ComfyUI's prefix says that it draws."""
    tensors = blocks("diffusion_model.language_model.layers.{}.self_attn.q_proj")
    path = write_tensors(tmp_path / "x.safetensors", tensors, {})

    with pytest.raises(UnsupportedLoraError, match="fit no base model"):
        read(path)


def test_a_text_encoders_part_beside_an_image_models_is_no_cause(tmp_path: Path) -> None:
    text = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"
    tensors = lora("transformer.transformer_blocks.0.attn.to_q", width=128) | lora(text)
    path = write_tensors(tmp_path / "x.safetensors", tensors)

    assert read(path).verdict.parts == {"transformer": 1, "text_encoder": 1}


def test_a_file_refused_for_its_layers_says_only_that(tmp_path: Path) -> None:
    """Four reasons of which three follow from the first help nobody."""
    path = write_tensors(tmp_path / "y.safetensors", lora("lora_unet_tomorrow_q"), {})

    with pytest.raises(UnsupportedLoraError) as caught:
        read(path)

    assert str(caught.value) == ("y.safetensors: 1 layer fits no base model known here: tomorrow_q")
