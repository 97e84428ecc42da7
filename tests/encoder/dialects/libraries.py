"""Adapters trained (at random) and written by diffusers and PEFT themselves.

What they do is what the libraries make of them: the difference that merging makes.
"""

import copy
import math
from pathlib import Path
from typing import Any

import torch

from tests.encoder.dialects.networks import Changes, network_of

PIPELINES = {
    "flux.1": "FluxPipeline",
    "flux.2": "Flux2Pipeline",
    "sdxl-1.0": "StableDiffusionXLPipeline",
    "sd-1.5": "StableDiffusionPipeline",
    "qwen-image": "QwenImagePipeline",
    "z-image": "ZImagePipeline",
    "chroma": "ChromaPipeline",
    "krea-2": "Krea2Pipeline",
    "hidream-i1": "HiDreamImagePipeline",
    "sd-3.5": "StableDiffusion3Pipeline",
    "wan-2.1": "WanPipeline",
    "hunyuan-video": "HunyuanVideoPipeline",
    "ltx-video": "LTXPipeline",
    "ltx-2": "LTX2Pipeline",
    "lumina-2": "Lumina2Pipeline",
    "ideogram-4": "Ideogram4Pipeline",
    "ernie-image": "ErnieImagePipeline",
    "auraflow": "AuraFlowPipeline",
    "sana": "SanaPipeline",
    "kandinsky-5": "Kandinsky5T2IPipeline",
    "cogvideox": "CogVideoXPipeline",
    "mochi-1": "MochiPipeline",
}
TARGETS = [
    "to_q", "to_k", "to_v", "to_out.0", "add_k_proj", "proj_mlp", "linear_in", "to_query"
]  # fmt: skip


def randomise(network: Any) -> None:
    """Give every trainable tensor random values: adapters start as zeros."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in network.named_parameters():
        if parameter.requires_grad and "magnitude" not in name:
            values = torch.randn(parameter.shape, generator=generator)
            parameter.data = values / math.sqrt(parameter.shape[-1])
        elif parameter.requires_grad:
            parameter.data = torch.rand(parameter.shape, generator=generator) + 0.5


def difference(architecture: str, merged: Any) -> Changes:
    before = dict(network_of(architecture).named_parameters())
    changes = {}
    for name, parameter in merged.named_parameters():
        plain = name.replace(".base_layer.", ".")
        if plain in before and not torch.equal(parameter, before[plain]):
            changes[plain] = (parameter - before[plain]).detach().double()
    return changes


def save_with_diffusers(
    folder: Path, architecture: str, *, patterns: bool = False
) -> tuple[Path, Changes]:
    import diffusers
    from diffusers.training_utils import _collate_lora_metadata
    from peft import LoraConfig, get_peft_model_state_dict

    network = copy.deepcopy(network_of(architecture)).requires_grad_(False)
    more: dict[str, Any] = {}
    if patterns:
        more = {"rank_pattern": {"to_q": 3}, "alpha_pattern": {"to_q": 5, "0.attn.to_k": 1},
                "use_rslora": True}  # fmt: skip
    network.add_adapter(LoraConfig(r=2, lora_alpha=3, target_modules=TARGETS, **more))
    randomise(network)
    kind = "unet" if "UNet" in type(network).__name__ else "transformer"
    getattr(diffusers, PIPELINES[architecture]).save_lora_weights(
        folder,
        **{f"{kind}_lora_layers": get_peft_model_state_dict(network)},
        **_collate_lora_metadata({kind: network}),
    )
    network.fuse_lora()
    return folder / "pytorch_lora_weights.safetensors", difference(architecture, network)


def save_network_with_diffusers(folder: Path, architecture: str) -> tuple[Path, Changes]:
    """`save_lora_adapter` of a network by itself; its metadata name no component."""
    from peft import LoraConfig

    network = copy.deepcopy(network_of(architecture)).requires_grad_(False)
    network.add_adapter(LoraConfig(r=2, lora_alpha=8, target_modules=TARGETS))
    randomise(network)
    network.save_lora_adapter(folder)
    network.fuse_lora()
    return folder / "pytorch_lora_weights.safetensors", difference(architecture, network)


def save_with_peft(folder: Path, kind: str) -> tuple[Path, Changes]:
    import peft

    network = copy.deepcopy(network_of("flux.1"))
    # Alpha is in adapter_config.json only.
    match kind:
        case "LoHa":
            config: Any = peft.LoHaConfig(r=2, alpha=3, target_modules=TARGETS)
        case "LoKr":
            config = peft.LoKrConfig(r=2, alpha=3, target_modules=TARGETS)
        case _:
            config = peft.LoraConfig(
                r=2, lora_alpha=3, target_modules=TARGETS,
                use_dora=kind == "DoRA", lora_bias=kind == "LoRA with bias",
            )  # fmt: skip
    model = peft.get_peft_model(network, config)
    randomise(model)
    model.save_pretrained(folder)
    merged = model.merge_and_unload()
    return folder / "adapter_model.safetensors", difference("flux.1", merged)
