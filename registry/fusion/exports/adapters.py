"""A recipe's adapters as other programs load them: file names, and plain strengths.

None of them knows gates. They load the same adapters at plain strengths, which is another
image; every export says so. Text encoders are left as they are in all of them, as they are here.
"""

import re
from dataclasses import dataclass

from registry.fusion.recipe import Recipe, RecipeAdapter

NOTE = "The adapters at plain strengths, without gates: not the same image as AutoLoRA's."
# File systems take 255 bytes; people read the beginning.
LONGEST_NAME = 80


@dataclass(frozen=True, slots=True)
class ExportedAdapter:
    """An adapter in use, its file's name without the ending, and its plain strength."""

    used: RecipeAdapter
    name: str
    strength: float

    @property
    def file(self) -> str:
        return file_of(self.name)


def file_of(name: str) -> str:
    return f"{name}.safetensors"


def export_name(name: str, sha256: str) -> str:
    """Return the name, without its ending, that exports expect an adapter's file under.

    One that people and all file systems can read, and the start of the hash.
    """
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name)[:LONGEST_NAME].strip("-") or "adapter"
    return f"{plain}-{sha256[:8]}"


def exported(recipe: Recipe) -> list[ExportedAdapter]:
    """Return the adapters in use; their strengths are divided where the recipe averages."""
    used = [adapter for adapter in recipe.adapters if adapter.strength and recipe.mode != "base"]
    share = 1 / len(used) if recipe.mode == "average" and used else 1.0
    return [
        ExportedAdapter(
            adapter,
            export_name(adapter.name, adapter.sha256),
            round(adapter.strength * share, 4),
        )
        for adapter in used
    ]
