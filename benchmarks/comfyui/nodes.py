"""What ComfyUI tells of its own nodes at /object_info, as far as our workflows have them.

Inputs as in nodes.py and comfy_extras/nodes_flux.py, nodes_sd3.py of
https://github.com/comfyanonymous/ComfyUI.
"""

from collections.abc import Collection, Mapping
from typing import Any

Inputs = dict[str, list[Any]]
CLIP_KINDS = [["stable_diffusion", "sd3", "flux", "qwen_image"]]
SAMPLERS = [["euler", "euler_ancestral", "dpmpp_2m"]]
SCHEDULERS = [["simple", "normal", "karras"]]
DEVICES = [["default", "cpu"]]
WEIGHT_TYPES = [["default", "fp8_e4m3fn"]]
TEXT = ["STRING", {"multiline": True, "dynamicPrompts": True}]


def object_info(files: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """Return what is told where the folders of models hold these files: `loras`, `vae`…"""
    nodes = {**_loaders(files), **_samplers()}
    return {name: _described(name, *told) for name, told in nodes.items()}


def _loaders(files: Mapping[str, Collection[str]]) -> dict[str, tuple[Inputs, list[str]]]:
    """Return the inputs and outputs of what loads files, which are choices among those there."""

    def file(folder: str) -> list[Any]:
        return [sorted(files.get(folder, ()))]

    clip = file("text_encoders")
    strength = _number("FLOAT", 1.0, -100.0, 100.0, step=0.01)
    return {
        "CheckpointLoaderSimple": ({"ckpt_name": file("checkpoints")}, ["MODEL", "CLIP", "VAE"]),
        "UNETLoader": (
            {"unet_name": file("diffusion_models"), "weight_dtype": WEIGHT_TYPES},
            ["MODEL"],
        ),
        "DualCLIPLoader": (
            {"clip_name1": clip, "clip_name2": clip, "type": CLIP_KINDS, "device": DEVICES},
            ["CLIP"],
        ),
        "CLIPLoader": ({"clip_name": clip, "type": CLIP_KINDS, "device": DEVICES}, ["CLIP"]),
        "VAELoader": ({"vae_name": file("vae")}, ["VAE"]),
        "LoraLoaderModelOnly": (
            {"model": ["MODEL"], "lora_name": file("loras"), "strength_model": strength},
            ["MODEL"],
        ),
    }


def _samplers() -> dict[str, tuple[Inputs, list[str]]]:
    """Return the inputs and outputs of what draws with what was loaded."""
    size: Inputs = {
        "width": _number("INT", 512, 16, 16384),
        "height": _number("INT", 512, 16, 16384),
        "batch_size": _number("INT", 1, 1, 4096),
    }
    guidance = _number("FLOAT", 3.5, 0.0, 100.0, step=0.1)
    prefix = ["STRING", {"default": "ComfyUI"}]
    return {
        "CLIPTextEncode": ({"text": TEXT, "clip": ["CLIP"]}, ["CONDITIONING"]),
        "FluxGuidance": (
            {"conditioning": ["CONDITIONING"], "guidance": guidance},
            ["CONDITIONING"],
        ),
        "EmptyLatentImage": (size, ["LATENT"]),
        "EmptySD3LatentImage": (size, ["LATENT"]),
        "KSampler": (
            {
                "model": ["MODEL"],
                "seed": _number("INT", 0, 0, 2**64 - 1, control_after_generate=True),
                "steps": _number("INT", 20, 1, 10000),
                "cfg": _number("FLOAT", 8.0, 0.0, 100.0, step=0.1, round=0.01),
                "sampler_name": SAMPLERS,
                "scheduler": SCHEDULERS,
                "positive": ["CONDITIONING"],
                "negative": ["CONDITIONING"],
                "latent_image": ["LATENT"],
                "denoise": _number("FLOAT", 1.0, 0.0, 1.0, step=0.01),
            },
            ["LATENT"],
        ),
        "VAEDecode": ({"samples": ["LATENT"], "vae": ["VAE"]}, ["IMAGE"]),
        "SaveImage": ({"images": ["IMAGE"], "filename_prefix": prefix}, []),
    }


def _number(kind: str, default: float, least: float, most: float, **more: Any) -> list[Any]:
    return [kind, {"default": default, "min": least, "max": most, **more}]


def _described(name: str, inputs: Inputs, outputs: list[str]) -> dict[str, Any]:
    return {
        "input": {"required": inputs},
        "input_order": {"required": list(inputs)},
        "output": outputs,
        "output_is_list": [False] * len(outputs),
        "output_name": outputs,
        "name": name,
        "display_name": name,
        "description": "",
        "python_module": "nodes",
        "category": "nodes",
        "output_node": name == "SaveImage",
    }
