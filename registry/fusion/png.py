"""PNGs that tell how they were made: here, and to A1111 and ComfyUI as these tell it themselves."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from crawler.whole_file import written_whole
from registry.fusion.errors import ImageNameError
from registry.fusion.exports.export import exportable
from registry.fusion.options import OTHER_PICTURES, Target
from registry.fusion.recipe import PNG_KEY, Recipe

# The keyword under which each program looks for its own.
KEYS: Mapping[str, Target] = {
    "parameters": "a1111",
    "workflow": "comfyui",
    "prompt": "comfyui-api",
}


def png_bytes(image: Image.Image, recipe: Recipe) -> bytes:
    """Return a PNG that carries its recipe, also for the programs that can run its base."""
    info = PngInfo()
    info.add_itxt(PNG_KEY, recipe.to_json())
    texts = exportable(recipe)
    for key, target in KEYS.items():
        if target in texts:
            # In tEXt where the letters allow it: ComfyUI reads no other.
            info.add_text(key, texts[target].rstrip("\n"))
    buffer = BytesIO()
    image.save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()


def save_png(image: Image.Image, recipe: Recipe, path: Path) -> None:
    """Write a PNG that carries its recipe, atomically.

    Raises:
        ImageNameError: the name is that of another kind of picture.
    """
    if path.suffix.lower() in OTHER_PICTURES:
        raise ImageNameError(path)
    with written_whole(path) as partial:
        partial.write_bytes(png_bytes(image, recipe))
