"""An image that was drawn, with all that is known of it. Imports no torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from PIL.Image import Image

from registry.fusion.png import png_bytes, save_png
from registry.fusion.recipe import Recipe

if TYPE_CHECKING:
    from registry.fusion.activity import ActivityMap


@dataclass(frozen=True)
class FusedImage:
    """An image, how it was made, and how far each adapter's gates stood open."""

    image: Image
    recipe: Recipe
    # The mean gate, 0..1, of each layer, by the adapter's sha256. Empty where the mode has no
    # gates or the strength is 0.
    activity: dict[str, dict[str, float]]
    # The same over layers and steps, for those that have gates.
    maps: dict[str, "ActivityMap"] = field(default_factory=dict)

    def save(self, path: Path | str) -> None:
        """Write a PNG with the recipe inside.

        Raises:
            ImageNameError: the name is that of another kind of picture.
        """
        save_png(self.image, self.recipe, Path(path))

    def png_bytes(self) -> bytes:
        """Return a PNG with the recipe inside."""
        return png_bytes(self.image, self.recipe)
