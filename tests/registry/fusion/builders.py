"""Adapters and bases, random and tiny, for the tests of fusion."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from demo.base import make_transformer
from demo.vae import make_vae
from encoder.adapter.layers import Layer, LoraLayer
from encoder.adapter.lora_file import LoraWeights
from encoder.adapter.verdict import Verdict
from registry.fusion.loaded_adapter import LoadedAdapter

BASE_MODEL = "demo-flux-tiny"
Z_IMAGE_BLOCKS = ("layers.", "noise_refiner.", "context_refiner.")


def make_small_flux() -> nn.Module:
    """A random FLUX of two blocks, smaller than the demo's."""
    torch.manual_seed(0)
    transformer: nn.Module = diffusers.FluxTransformer2DModel(
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=12,
        pooled_projection_dim=12,
        axes_dims_rope=(4, 6, 6),
    )
    return transformer.requires_grad_(False).eval()


def make_weights(
    base: nn.Module,
    layers: Iterable[str],
    *,
    seed: int,
    rank: int = 3,
    scale: float = 0.5,
    base_model: str = BASE_MODEL,
    fusable: bool = True,
) -> LoraWeights:
    """Draw an adapter for some linear layers of `base`."""
    generator = torch.Generator().manual_seed(seed)

    def draw(name: str) -> LoraLayer:
        linear = base.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        return LoraLayer(
            torch.randn(rank, linear.in_features, generator=generator) / linear.in_features**0.5,
            torch.randn(linear.out_features, rank, generator=generator),
            scale,
        )

    drawn: dict[str, Layer] = {name: draw(name) for name in layers}
    verdict = Verdict(
        format="peft",
        trainer=None,
        base_model=base_model,
        evidence=(),
        ranks=(rank, rank, rank),
        layers=len(drawn),
        missing=0,
        zero_layers=(),
        unused=0,
        dtype="F32",
        loadable=True,
        fusable=fusable,
        reasons=() if fusable else ("holds parts of a text encoder",),
    )
    return LoraWeights(drawn, base_model, (), None, {}, verdict)


def make_adapter(name: str, weights: LoraWeights, strength: float = 1.0) -> LoadedAdapter:
    return LoadedAdapter(
        name, sha256=name.encode().hex().ljust(64, "0"), weights=weights, strength=strength
    )


def block_layers(base: nn.Module) -> list[str]:
    return [
        name
        for name, part in base.named_modules()
        if isinstance(part, nn.Linear)
        and ("transformer_blocks." in name or name.startswith(Z_IMAGE_BLOCKS))
    ]


def save_tiny_base(folder: Path) -> None:
    """Write a random base in the layout of the miniature world's."""
    torch.manual_seed(0)
    transformer: Any = make_transformer()
    transformer.save_pretrained(folder / "transformer")
    random_vae().save_pretrained(folder / "vae")
    scheduler: Any = diffusers.FlowMatchEulerDiscreteScheduler(shift=1.0)
    scheduler.save_pretrained(folder / "scheduler")


def random_vae() -> Any:
    vae: Any = make_vae()
    vae.register_to_config(scaling_factor=1.0, shift_factor=0.0)
    return vae


def save_tiny_flux(folder: Path, dtype: torch.dtype, guidance: bool = True) -> None:
    """Write a random base with all that FLUX.1-dev has: CLIP, T5, guidance as an input.

    Without that it is FLUX.1-schnell.
    """
    torch.manual_seed(0)
    transformer = diffusers.FluxTransformer2DModel(
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        guidance_embeds=guidance,
        axes_dims_rope=(4, 6, 6),
    )
    special = ["<|startoftext|>", "<|endoftext|>"]
    letters = [c + end for c in "abcdefghijklmnopqrstuvwxyz" for end in ("", "</w>")]
    clip = CLIPTextConfig(
        vocab_size=len(letters) + 2,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    t5 = T5Config(vocab_size=8, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁red", -1.0), ("▁apple", -1.0)]
    pipeline: Any = diffusers.FluxPipeline(
        transformer=transformer,
        vae=random_vae(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        text_encoder=CLIPTextModel(clip),
        tokenizer=CLIPTokenizer(
            vocab={token: k for k, token in enumerate([*special, *letters])},
            merges=[],
            model_max_length=77,
        ),
        text_encoder_2=T5EncoderModel(t5),
        tokenizer_2=T5Tokenizer(vocab=words),
    )
    pipeline.to(dtype).save_pretrained(folder)
