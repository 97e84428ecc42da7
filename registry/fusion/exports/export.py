"""Recipes for other programs: a diffusers script, A1111 and Forge's text, ComfyUI's workflows."""

from collections.abc import Callable, Mapping

from registry.fusion.errors import ExportError
from registry.fusion.exports.a1111 import write_a1111
from registry.fusion.exports.comfyui import write_graph, write_workflow
from registry.fusion.exports.programs import check_drawable
from registry.fusion.exports.script import write_script
from registry.fusion.options import TARGETS, Target
from registry.fusion.recipe import Recipe

WRITERS: Mapping[Target, Callable[[Recipe], str]] = {
    "diffusers": write_script,
    "a1111": write_a1111,
    "comfyui": write_workflow,
    "comfyui-api": write_graph,
}


def export(recipe: Recipe, target: Target) -> str:
    """Return a recipe in the words of another program.

    Raises:
        ExportError: the program cannot run this base.
    """
    if target not in WRITERS:
        raise ExportError(f"{target!r} is none of {', '.join(TARGETS)}")
    check_drawable(recipe)
    return WRITERS[target](recipe)


def exportable(recipe: Recipe) -> dict[Target, str]:
    """Return a recipe in the words of every program that can run its base."""
    written = {}
    for target in TARGETS:
        try:
            written[target] = export(recipe, target)
        except ExportError:
            # That program does not know the base.
            continue
    return written
