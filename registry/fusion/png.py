"""PNGs that tell how they were made: here, and to A1111 and ComfyUI as these tell it themselves."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from registry.fusion.errors import ExportError
from registry.fusion.exports.export import export
from registry.fusion.options import Target
from registry.fusion.recipe import PNG_KEY, Recipe

# The keyword under which each program looks for its own.
KEYS: tuple[tuple[str, Target], ...] = (
    ("parameters", "a1111"),
    ("workflow", "comfyui"),
    ("prompt", "comfyui-api"),
)


def png_bytes(image: Image.Image, recipe: Recipe) -> bytes:
    """Return a PNG that carries its recipe, also for the programs that can run its base."""
    info = PngInfo()
    info.add_itxt(PNG_KEY, recipe.to_json())
    for key, text in _texts(recipe):
        # In tEXt where the letters allow it: ComfyUI reads no other.
        info.add_text(key, text)
    buffer = BytesIO()
    image.save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()


def save_png(image: Image.Image, recipe: Recipe, path: Path) -> None:
    """Write a PNG that carries its recipe, atomically."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(png_bytes(image, recipe))
    partial.replace(path)


def _texts(recipe: Recipe) -> Iterator[tuple[str, str]]:
    for key, target in KEYS:
        try:
            yield key, export(recipe, target).rstrip("\n")
        except ExportError:
            # That program does not know the base; the recipe tells all the same.
            continue
