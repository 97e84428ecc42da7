"""Rows of docs/formats.md for the bases of 2025 and 2026: who trains them, and how they write.

Sources (repository: files): kohya-ss/sd-scripts: networks/lora_flux.py, lora_sd3.py,
lora_lumina.py, lora_anima.py; kohya-ss/musubi-tuner: src/musubi_tuner/networks/lora*.py,
convert_lora.py; ostris/ai-toolkit: extensions_built_in/diffusion_models, toolkit/lora_special.py;
Nerogar/OneTrainer: modules/util/convert; modelscope/DiffSynth-Studio: diffsynth/diffusion/
training_module.py; tdrussell/diffusion-pipe: models/hunyuan_video.py; Comfy-Org/ComfyUI:
comfy/lora.py; genmoai/mochi: src/genmo/mochi_preview/dit/joint_model/lora.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from tests.encoder.dialects.kinds import Pen
from tests.encoder.dialects.networks import linear_shapes
from tests.encoder.dialects.originals import original_shapes, original_to_diffusers
from tests.encoder.dialects.samples import Sample, Stem, dotted, flat, write_all


@dataclass(frozen=True)
class Way:
    """How a program writes: what comes before names and after them, and whose names they are."""

    stem: Stem
    suffixes: str = "peft"
    alpha: bool = False
    original: bool = True  # the authors' names, not diffusers'


KOHYA = Way(flat("lora_unet_"), "kohya", alpha=True)
COMFY = Way(dotted("diffusion_model."))
COMFY_ALPHA = Way(dotted("diffusion_model."), alpha=True)
DIFFUSION_PIPE = Way(dotted("transformer."))
DIFFSYNTH = Way(dotted(""), "default")
BARE = Way(dotted(""))
# Bases whose authors' names are diffusers'.
OWN_KOHYA = Way(flat("lora_unet_"), "kohya", alpha=True, original=False)
OWN_COMFY = Way(dotted("diffusion_model."), original=False)
OWN_COMFY_ALPHA = Way(dotted("diffusion_model."), alpha=True, original=False)
DIFFUSERS = Way(dotted("transformer."), original=False)
LEGACY = Way(flat("lora_transformer_"), "kohya", alpha=True, original=False)
PEFT = Way(dotted("base_model.model."), original=False)
# HiDream-O1's network without the "model" that holds all of it.
WITHOUT_MODEL = Way(
    lambda module: "diffusion_model." + module.removeprefix("model."), original=False
)

WAYS: Mapping[str, Mapping[tuple[str, str], Way]] = {
    "chroma": {
        ("kohya sd-scripts", "LoRA"): KOHYA,
        ("ai-toolkit", "LoRA"): COMFY,
        ("SimpleTuner", "LoRA"): DIFFUSERS,
        ("OneTrainer", "LoRA, comfy"): COMFY_ALPHA,
    },
    "krea-2": {
        ("musubi-tuner", "LoRA"): KOHYA,
        ("ai-toolkit", "LoRA"): COMFY,
        ("DiffSynth-Studio", "LoRA"): DIFFSYNTH,
        ("DiffSynth-Studio", "LoRA, aligned"): DIFFUSERS,
        ("OneTrainer", "LoRA, comfy"): COMFY_ALPHA,
    },
    "hidream-i1": {
        ("ai-toolkit", "LoRA"): OWN_COMFY,
        ("SimpleTuner", "LoRA"): DIFFUSERS,
        ("OneTrainer", "LoRA, comfy"): OWN_COMFY_ALPHA,
    },
    "hidream-o1": {
        ("musubi-tuner", "LoRA"): OWN_KOHYA,
        ("ai-toolkit", "LoRA"): WITHOUT_MODEL,
    },
    "sd-3.5": {
        ("kohya sd-scripts", "LoRA"): KOHYA,
        ("ai-toolkit", "LoRA"): DIFFUSERS,
        ("OneTrainer", "LoRA, legacy"): LEGACY,
        ("OneTrainer", "LoRA, comfy"): COMFY_ALPHA,
    },
    "anima": {
        ("kohya sd-scripts", "LoRA"): KOHYA,
        ("kohya sd-scripts", "LoRA, made for ComfyUI"): COMFY_ALPHA,
        ("ai-toolkit", "LoRA"): COMFY,
        ("DiffSynth-Studio", "LoRA"): DIFFSYNTH,
        ("SimpleTuner", "LoRA"): Way(dotted("transformer.core."), original=False),
        ("SimpleTuner", "LyCORIS: LoCon"): Way(
            flat("lycoris_core_"), "kohya", alpha=True, original=False
        ),
    },
    "wan-2.1": {
        ("musubi-tuner", "LoRA"): KOHYA,
        ("ai-toolkit, diffusion-pipe", "LoRA"): COMFY,
        ("DiffSynth-Studio", "LoRA"): DIFFSYNTH,
    },
    "hunyuan-video": {
        ("musubi-tuner", "LoRA"): KOHYA,
        ("diffusion-pipe", "LoRA"): DIFFUSION_PIPE,
        ("ComfyUI", "LoRA"): COMFY,
    },
    "hunyuan-video-1.5": {("musubi-tuner", "LoRA"): KOHYA},
    "ltx-video": {("ComfyUI", "LoRA"): COMFY},
    "ltx-2": {
        ("ai-toolkit", "LoRA"): COMFY,
        ("DiffSynth-Studio", "LoRA"): DIFFSYNTH,
    },
    "minimax-h3": {
        ("musubi-tuner", "LoRA"): KOHYA,
        ("ai-toolkit", "LoRA"): COMFY,
        ("its authors", "LoRA"): BARE,
    },
    "lumina-2": {
        ("kohya sd-scripts", "LoRA"): KOHYA,
        ("ai-toolkit", "LoRA"): DIFFUSERS,
        ("ComfyUI", "LoRA"): COMFY,
    },
    "ideogram-4": {
        ("musubi-tuner", "LoRA"): KOHYA,
        ("ai-toolkit", "LoRA"): COMFY,
        ("DiffSynth-Studio", "LoRA"): DIFFSYNTH,
    },
    "ernie-image": {
        ("ai-toolkit", "LoRA"): OWN_COMFY,
        ("OneTrainer", "LoRA, kohya"): OWN_KOHYA,
    },
    "pixart": {
        ("OneTrainer", "LoRA, kohya"): KOHYA,
        ("PEFT", "LoRA"): PEFT,
    },
    "auraflow": {
        ("SimpleTuner", "LoRA"): DIFFUSERS,
        ("ai-toolkit", "LoRA"): LEGACY,
        ("ComfyUI", "LoRA"): COMFY,
    },
    "sana": {
        ("OneTrainer", "LoRA"): Way(dotted("transformer."), "kohya", alpha=True, original=False),
        ("SimpleTuner", "LoRA"): DIFFUSERS,
    },
    "hunyuan-image-2.1": {
        ("kohya sd-scripts", "LoRA"): KOHYA,
        ("diffusion-pipe", "LoRA"): COMFY,
    },
    "kandinsky-5": {
        ("musubi-tuner", "LoRA"): OWN_KOHYA,
        ("SimpleTuner", "LoRA"): DIFFUSERS,
    },
    "cogvideox": {("finetrainers", "LoRA"): DIFFUSERS},
    "mochi-1": {
        ("finetrainers", "LoRA"): DIFFUSERS,
        ("its authors", "LoRA"): Way(dotted(""), "bare"),
    },
    "longcat-image": {("SimpleTuner", "LoRA"): DIFFUSERS},
}


def write_sample(architecture: str, way: Way) -> Sample:
    write = partial(Pen().lora, names=way.suffixes, alpha=way.alpha)
    sample = Sample(architecture)
    if way.original:
        shapes = original_shapes(architecture)
        return write_all(
            sample, shapes, way.stem, write, partial(original_to_diffusers, architecture)
        )
    return write_all(sample, linear_shapes(architecture), way.stem, write)
