"""Random bases of the real architectures, saved whole as their hubs have them, but tiny."""

from pathlib import Path
from typing import Any

import diffusers
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
)

LETTERS = [c + end for c in "abcdefghijklmnopqrstuvwxyz" for end in ("", "</w>")]
QWEN_SPECIALS = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"),
    *("<|image_pad|>", "<|video_pad|>"),
]


def clip_tokenizer() -> Any:
    special = ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: k for k, token in enumerate([*special, *LETTERS])}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def clip_config(projection: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(LETTERS) + 2,
        hidden_size=32,
        intermediate_size=32,
        projection_dim=projection,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def make_unet(**config: Any) -> Any:
    return diffusers.UNet2DConditionModel(
        sample_size=4,
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        norm_num_groups=8,
        **config,
    )


def make_vae(**config: Any) -> Any:
    return diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        block_out_channels=(16, 32),
        latent_channels=4,
        norm_num_groups=8,
        sample_size=32,
        force_upcast=False,
        **config,
    )


def save_sdxl(folder: Path) -> None:
    """Two CLIPs, sizes and pooled text as inputs of the UNet, an empty prompt of zeros."""
    torch.manual_seed(0)
    pipeline = diffusers.StableDiffusionXLPipeline(
        vae=make_vae(),
        text_encoder=CLIPTextModel(clip_config(32)),
        tokenizer=clip_tokenizer(),
        text_encoder_2=CLIPTextModelWithProjection(clip_config(32)),
        tokenizer_2=clip_tokenizer(),
        unet=make_unet(
            cross_attention_dim=64,
            transformer_layers_per_block=(1, 2),
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=32 + 6 * 8,
        ),
        scheduler=diffusers.EulerDiscreteScheduler(),
        add_watermarker=False,
    )
    pipeline.save_pretrained(folder)


def save_sd(folder: Path) -> None:
    torch.manual_seed(0)
    pipeline = diffusers.StableDiffusionPipeline(
        vae=make_vae(),
        text_encoder=CLIPTextModel(clip_config(32)),
        tokenizer=clip_tokenizer(),
        unet=make_unet(cross_attention_dim=32),
        scheduler=diffusers.DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)


def save_qwen_image(folder: Path) -> None:
    """Qwen2.5-VL reads the prompt; the autoencoder is a video's."""
    torch.manual_seed(0)
    pipeline = diffusers.QwenImagePipeline(
        transformer=diffusers.QwenImageTransformer2DModel(
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            axes_dims_rope=(4, 6, 6),
        ),
        vae=diffusers.AutoencoderKLQwenImage(base_dim=8, num_res_blocks=1),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        text_encoder=Qwen2_5_VLForConditionalGeneration(qwen_config()),
        tokenizer=qwen_tokenizer(),
    )
    pipeline.save_pretrained(folder)


def save_z_image(folder: Path) -> None:
    """Qwen3 reads prompts; samples are lists, and the negative prompt's come last."""
    torch.manual_seed(0)
    pipeline = diffusers.ZImagePipeline(
        transformer=diffusers.ZImageTransformer2DModel(
            in_channels=4,
            dim=32,
            n_layers=2,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=32,
            axes_dims=(4, 6, 6),
            axes_lens=(256, 64, 64),
        ),
        vae=make_vae(shift_factor=0.1),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        text_encoder=Qwen3Model(qwen3_config(2)),
        tokenizer=qwen_tokenizer(),
    )
    for token in ("x_pad_token", "cap_pad_token"):
        torch.nn.init.normal_(getattr(pipeline.transformer, token), std=0.02)
    pipeline.save_pretrained(folder)


def save_klein(folder: Path) -> None:
    """Layers 9, 18 and 27 of Qwen3 are what it knows of a prompt."""
    torch.manual_seed(0)
    pipeline = diffusers.Flux2KleinPipeline(
        transformer=diffusers.Flux2Transformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=3 * 32,
            axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=False,
        ),
        vae=diffusers.AutoencoderKLFlux2(
            down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
            up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
            block_out_channels=(16, 32),
            latent_channels=4,
            norm_num_groups=8,
            sample_size=32,
        ),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        text_encoder=Qwen3ForCausalLM(qwen3_config(28)),
        tokenizer=qwen_tokenizer(),
        is_distilled=False,
    )
    pipeline.save_pretrained(folder)


def qwen3_config(layers: int) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=256 + len(QWEN_SPECIALS),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        bos_token_id=256,
        eos_token_id=256,
        pad_token_id=256,
    )


# What Qwen's tokenizers make of a conversation.
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def qwen_tokenizer() -> Any:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: k for k, token in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        additional_special_tokens=QWEN_SPECIALS,
        pad_token="<|endoftext|>",
        padding_side="right",
        chat_template=CHAT,
    )


def qwen_config() -> Qwen2_5_VLConfig:
    ids = {token: 256 + k for k, token in enumerate(QWEN_SPECIALS)}
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 256 + len(QWEN_SPECIALS),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "bos_token_id": 256,
            "eos_token_id": 256,
            "pad_token_id": 256,
            "rope_parameters": {
                "rope_type": "default",
                "mrope_section": [1, 1, 2],
                "rope_theta": 1e4,
            },
        },
        vision_config={
            "depth": 1,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 4,
            "patch_size": 14,
            "window_size": 56,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [0],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
