"""The text that A1111 and Forge read from a prompt box, by the arrow below it."""

from registry.fusion.exports.adapters import ExportedAdapter, exported
from registry.fusion.exports.escaping import for_a1111
from registry.fusion.exports.programs import pipeline_of
from registry.fusion.recipe import Recipe


def write_a1111(recipe: Recipe) -> str:
    """Write prompt, negative prompt and settings, each on one line.

    The hashes are those by which that program and Civitai know files of LoRAs.
    """
    adapters = exported(recipe)
    lines = [" ".join([for_a1111(recipe.full_prompt), *map(_call, adapters)])]
    if recipe.negative_prompt:
        lines.append(f"Negative prompt: {for_a1111(recipe.negative_prompt)}")
    # Less than 1 is no guidance here, and the negative prompt there.
    guidance = {"CFG scale": f"{max(1.0, recipe.guidance):g}"}
    if pipeline_of(recipe).takes_guidance:
        guidance = {"CFG scale": "1", "Distilled CFG Scale": f"{recipe.guidance:g}"}
    settings = {
        "Steps": str(recipe.steps),
        "Sampler": "Euler",
        **guidance,
        "Seed": str(recipe.seed),
        "Size": f"{recipe.width}x{recipe.height}",
    }
    hashes = [f"{each.name}: {each.used.autov3}" for each in adapters if each.used.autov3]
    if hashes:
        settings["Lora hashes"] = f'"{", ".join(hashes)}"'
    lines.append(", ".join(f"{name}: {value}" for name, value in settings.items()))
    return "\n".join(lines) + "\n"


def _call(adapter: ExportedAdapter) -> str:
    """Call an adapter; one that holds a text encoder's part has that part left out by `te=0`."""
    parts = "te=0:unet=" if adapter.used.text_encoders else ""
    return f"<lora:{adapter.name}:{parts}{adapter.strength:g}>"
