"""What other programs can draw with."""

from encoder.base_models.facts import Pipeline, find_pipeline, variant_of
from registry.fusion.errors import ExportError
from registry.fusion.recipe import Recipe


def check_drawable(recipe: Recipe) -> None:
    """Refuse a recipe whose base no other program can run.

    Raises:
        ExportError: with the base's name.
    """
    if variant_of(recipe.base.name).hub_id is None and not _has_text_encoders(recipe):
        raise ExportError(
            f"{recipe.base.name} has no text encoders of its own: no other program draws with it"
        )


def pipeline_of(recipe: Recipe) -> Pipeline:
    name = recipe.base.backend.removeprefix("diffusers-")
    pipeline = find_pipeline(recipe.base.name, lambda known: known.name == name)
    if pipeline is None:
        raise ExportError(f"no other program is known to draw with {recipe.base.backend}")
    return pipeline


def _has_text_encoders(recipe: Recipe) -> bool:
    return any(path.startswith("text_encoder/") for path in recipe.base.files)
