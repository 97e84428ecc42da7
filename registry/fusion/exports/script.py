"""A Python script that draws a recipe's image with diffusers."""

from typing import Any

from encoder.base_models.facts import variant_of
from registry.fusion.exports.adapters import NOTE, ExportedAdapter, exported
from registry.fusion.exports.programs import pipeline_of
from registry.fusion.recipe import Recipe


class Code(str):
    """A value in a script that is worked out there."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def write_script(recipe: Recipe) -> str:
    """Write a Python script that draws with diffusers."""
    call: dict[str, Any] = {
        "num_inference_steps": recipe.steps,
        "width": recipe.width,
        "height": recipe.height,
    }
    pipeline = pipeline_of(recipe)
    adapters = [
        (each.file, _weight(each, pipeline.denoiser), each.used.sha256)
        for each in exported(recipe, reads_metadata=True)
    ]
    if not pipeline.guidance_input:
        call[pipeline.guidance_argument] = pipeline.guidance_value(recipe.guidance)
        negative = recipe.negative_prompt or pipeline.empty_negative or None
        if pipeline.negative_argument == "negative_prompt":
            call["negative_prompt"] = negative
        elif negative is not None:
            call["negative_prompt_embeds"] = Code(f"pipe.encode_prompt({negative!r})[0]")
    elif pipeline.takes_guidance:
        call |= {"guidance_scale": recipe.guidance}
    elif recipe.guidance > 1:
        call |= {"true_cfg_scale": recipe.guidance, "negative_prompt": recipe.negative_prompt}
    return SCRIPT.format(
        note=NOTE,
        base=variant_of(recipe.base.name).hub_id or recipe.base.name,
        adapters="".join(f"    {adapter!r},\n" for adapter in adapters),
        prompt=recipe.full_prompt,
        seed=recipe.seed,
        call="".join(f"    {name}={value!r},\n" for name, value in call.items()),
    )


def _weight(adapter: ExportedAdapter, denoiser: str) -> float | dict[str, float]:
    """Return what `set_adapters` takes; by part where the file changes text encoders as well."""
    if not adapter.used.text_encoders:
        return adapter.strength
    return {denoiser: adapter.strength, **dict.fromkeys(adapter.used.text_encoders, 0.0)}


SCRIPT = '''"""{note}

    python this.py [--base FOLDER_OR_HUB_ID] [--adapters FOLDER] [--output IMAGE]

FOLDER holds the adapters' files under the names below.
"""

import argparse
import hashlib
from pathlib import Path

import torch
from diffusers import DiffusionPipeline

# File, strength (by part where the file changes text encoders too), sha256.
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
