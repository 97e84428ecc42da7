"""Recipes for other programs: a diffusers script, A1111 and Forge's prompt, a ComfyUI workflow.

None of them knows gates. They load the same adapters at plain strengths, which is another
image; every export says so.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from encoder.base_models.facts import Pipeline, find_pipeline, variant_of
from registry.fusion.comfyui import draw_workflow
from registry.fusion.errors import ExportError
from registry.fusion.recipe import Recipe, RecipeAdapter

NOTE = "The adapters at plain strengths, without gates: not the same image as AutoLoRA's."


def export(recipe: Recipe, target: str) -> str:
    """Return a recipe in the words of another program: one of TARGETS.

    Raises:
        ExportError: the program cannot run this base.
    """
    if target not in TARGETS:
        raise ExportError(f"{target!r} is none of {', '.join(TARGETS)}")
    if variant_of(recipe.base.name).hub_id is None and not has_text_encoders(recipe):
        raise ExportError(
            f"{recipe.base.name} has no text encoders of its own: no other program draws with it"
        )
    return TARGETS[target](recipe)


def pipeline_of(recipe: Recipe) -> Pipeline:
    name = recipe.base.backend.removeprefix("diffusers-")
    pipeline = find_pipeline(recipe.base.name, lambda known: known.name == name)
    if pipeline is None:
        raise ExportError(f"no other program is known to draw with {recipe.base.backend}")
    return pipeline


def has_text_encoders(recipe: Recipe) -> bool:
    return any(path.startswith("text_encoder/") for path in recipe.base.files)


def file_names(recipe: Recipe) -> dict[str, str]:
    """Return by sha256 the file name, without its ending, that an adapter is expected under.

    A name that people and all file systems can read, and the start of the hash.
    """
    return {
        used.sha256: f"{re.sub(r'[^A-Za-z0-9]+', '-', used.name).strip('-') or 'adapter'}"
        f"-{used.sha256[:8]}"
        for used in recipe.adapters
    }


def strengths(recipe: Recipe) -> dict[str, float]:
    """Return by sha256 the plain strengths: divided where the recipe averages."""
    used = [adapter for adapter in recipe.adapters if adapter.strength and recipe.mode != "base"]
    share = 1 / len(used) if recipe.mode == "average" and used else 1.0
    return {adapter.sha256: round(adapter.strength * share, 4) for adapter in used}


def loaded(recipe: Recipe) -> list[tuple[RecipeAdapter, str, float]]:
    """Return the adapters in use, with file name and strength."""
    names, strong = file_names(recipe), strengths(recipe)
    return [
        (used, names[used.sha256], strong[used.sha256])
        for used in recipe.adapters
        if used.sha256 in strong
    ]


def a1111(recipe: Recipe) -> str:
    """Write the text that A1111 and Forge read from a prompt box (the arrow below it)."""
    loras = "".join(f" <lora:{name}:{strength:g}>" for _, name, strength in loaded(recipe))
    lines = [recipe.full_prompt + loras]
    if recipe.negative_prompt:
        lines.append(f"Negative prompt: {recipe.negative_prompt}")
    guidance = f"CFG scale: {recipe.guidance:g}"
    if pipeline_of(recipe).takes_guidance:
        guidance = f"CFG scale: 1, Distilled CFG Scale: {recipe.guidance:g}"
    lines.append(
        f"Steps: {recipe.steps}, Sampler: Euler, {guidance}, Seed: {recipe.seed}, "
        f"Size: {recipe.width}x{recipe.height}"
    )
    return "\n".join(lines) + "\n"


def comfyui(recipe: Recipe) -> str:
    """Write a workflow that ComfyUI opens."""
    files = [(f"{name}.safetensors", strength) for _, name, strength in loaded(recipe)]
    return (
        json.dumps(
            draw_workflow(recipe, pipeline_of(recipe), files, NOTE), indent=1, ensure_ascii=False
        )
        + "\n"
    )


class Code(str):
    """A value in a script that is worked out there."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def diffusers(recipe: Recipe) -> str:
    """Write a Python script that draws with diffusers."""
    adapters = [
        (f"{name}.safetensors", strength, used.sha256) for used, name, strength in loaded(recipe)
    ]
    call: dict[str, Any] = {
        "num_inference_steps": recipe.steps,
        "width": recipe.width,
        "height": recipe.height,
    }
    pipeline = pipeline_of(recipe)
    if not pipeline.guidance_input:
        call[pipeline.guidance_argument] = pipeline.guidance_value(recipe.guidance)
        negative = recipe.negative_prompt or pipeline.empty_negative or None
        if pipeline.negative_argument == "negative_prompt":
            call["negative_prompt"] = negative
        elif negative is not None:
            call["negative_prompt_embeds"] = Code(f"pipe.encode_prompt({negative!r})[0]")
    elif pipeline.takes_guidance and recipe.guidance > 1:
        call |= {"guidance_scale": recipe.guidance}
    return SCRIPT.format(
        note=NOTE,
        base=variant_of(recipe.base.name).hub_id or recipe.base.name,
        adapters="".join(f"    {adapter!r},\n" for adapter in adapters),
        prompt=recipe.full_prompt,
        seed=recipe.seed,
        call="".join(f"    {name}={value!r},\n" for name, value in call.items()),
    )


SCRIPT = '''"""{note}

    python this.py [--base FOLDER_OR_HUB_ID] [--adapters FOLDER] [--output IMAGE]

FOLDER holds the adapters' files under the names below.
"""

import argparse
import hashlib
from pathlib import Path

import torch
from diffusers import DiffusionPipeline

# File, strength, sha256.
ADAPTERS = [
{adapters}]

parser = argparse.ArgumentParser()
parser.add_argument("--base", default={base!r})
parser.add_argument("--adapters", type=Path, default=Path())
parser.add_argument("--output", type=Path, default=Path("image.png"))
asked = parser.parse_args()

cuda = torch.cuda.is_available()
pipe = DiffusionPipeline.from_pretrained(
    asked.base, torch_dtype=torch.bfloat16 if cuda else torch.float32, use_safetensors=True
)
pipe.to("cuda" if cuda else "cpu")
for file, _, sha256 in ADAPTERS:
    if hashlib.sha256((asked.adapters / file).read_bytes()).hexdigest() != sha256:
        raise SystemExit(f"{{file}} is not the file of the recipe")
    pipe.load_lora_weights(asked.adapters, weight_name=file, adapter_name=sha256[:8])
if ADAPTERS:
    pipe.set_adapters([row[2][:8] for row in ADAPTERS], [row[1] for row in ADAPTERS])
image = pipe(
    prompt={prompt!r},
    generator=torch.Generator().manual_seed({seed}),
{call}).images[0]
image.save(asked.output)
'''

TARGETS: Mapping[str, Callable[[Recipe], str]] = {
    "diffusers": diffusers,
    "a1111": a1111,
    "comfyui": comfyui,
}
