"""Recipes that are sent: as JSON, or in a PNG."""

from typing import Any

from registry.fusion.recipe import Recipe, recipe_in_png

RECIPE_BODY: dict[str, Any] = {
    "required": True,
    "description": "A recipe, or a PNG that carries one; also as the first file of a form.",
    "content": {
        "application/json": {"schema": {"type": "object"}},
        **{
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in ("image/png", "multipart/form-data")
        },
    },
}


def read_recipe(sent: bytes) -> Recipe:
    """Raises:
    RecipeError: it is no recipe, and no PNG that carries one.
    """
    is_json = sent.lstrip()[:1] == b"{"
    return Recipe.from_json(sent) if is_json else recipe_in_png(sent, "what was sent")
