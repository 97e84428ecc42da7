"""Recipes that are sent, as JSON or in a PNG, and those of images that were made here."""

from typing import Any

from registry.api.description import BYTES
from registry.api.schemas.fuse import RECIPE
from registry.api.uploads import FORM
from registry.db.images import ImageFacts
from registry.fusion.errors import RecipeError
from registry.fusion.recipe import Recipe, recipe_in_png

# As an example of what is refused.
NO_RECIPE = RecipeError("not a recipe of schema 1 or 2: prompt: Field required")
RECIPE_BODY: dict[str, Any] = {
    "required": True,
    "description": "A recipe, or a PNG that carries one; also as the first file of a form.",
    "content": {
        "application/json": {"schema": {"type": "object"}, "example": RECIPE},
        "image/png": {"schema": BYTES},
        "multipart/form-data": {"schema": FORM},
    },
}


def read_recipe(sent: bytes) -> Recipe:
    """Return the recipe that was sent, as JSON or in a PNG.

    Raises:
        RecipeError: it is neither.
    """
    is_json = sent.lstrip()[:1] == b"{"
    return Recipe.from_json(sent) if is_json else recipe_in_png(sent, "what was sent")


def recipe_of(image: ImageFacts) -> Recipe:
    """Return the recipe that an image was made by.

    Raises:
        RecipeError: it has none.
    """
    if image.recipe is None:
        raise RecipeError(f"image {image.id} has no recipe: it is a sheet, or was not finished")
    return Recipe.model_validate(image.recipe)
