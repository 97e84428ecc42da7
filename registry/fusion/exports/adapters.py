"""A recipe's adapters as other programs load them: file names, and plain strengths.

None of them knows gates. They load the same adapters at plain strengths, which is another
image; every export says so. Text encoders are left as they are in all of them, as they are here.
"""

import re
import unicodedata
from dataclasses import dataclass

from registry.fusion.recipe import Recipe, RecipeAdapter

NOTE = "The adapters at plain strengths, without gates: not the same image as AutoLoRA's."
# File systems take 255 bytes, encrypted ones 143; people read the beginning.
MOST_NAME_BYTES = 80


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

    Its letters and digits, of whichever script, which people, all file systems and `<lora:name:1>`
    can read, and the start of the hash.
    """
    letters = "".join(
        sign if _is_plain(sign) else "-" for sign in unicodedata.normalize("NFKC", name)
    )
    joined = re.sub("-+", "-", letters).encode()[:MOST_NAME_BYTES].decode(errors="ignore")
    return f"{joined.strip('-') or 'adapter'}-{sha256[:8]}"


def _is_plain(sign: str) -> bool:
    """Whether a sign is a letter, a digit, or a vowel that is written as a mark on a letter."""
    # Those that choose between forms of the sign before, as of emoji, are marks too.
    is_selector = unicodedata.name(sign, "").startswith("VARIATION SELECTOR")
    return sign.isalnum() or (unicodedata.category(sign) in ("Mn", "Mc") and not is_selector)


def exported(recipe: Recipe, *, reads_metadata: bool = False) -> list[ExportedAdapter]:
    """Return the adapters in use; their strengths are divided where the recipe averages.

    Programs take alpha / rank for 1 where no tensor says it: what PEFT's config says is part of
    the strength then, but in those that read it in a file's metadata. None reads it beside one.
    """
    used = [adapter for adapter in recipe.adapters if adapter.strength and recipe.mode != "base"]
    return [
        ExportedAdapter(
            adapter,
            export_name(adapter.name, adapter.sha256),
            round(adapter.strength * recipe.share * _unread_scale(adapter, reads_metadata), 4),
        )
        for adapter in used
    ]


def _unread_scale(adapter: RecipeAdapter, reads_metadata: bool) -> float:
    if adapter.config_scale is None or (adapter.config_in_file and reads_metadata):
        return 1.0
    return adapter.config_scale
