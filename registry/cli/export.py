"""Commands that take a recipe elsewhere: to another program's words, a zip, a running ComfyUI."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crawler.foreign_text import visible
from registry.cli.context import open_reader, open_registry
from registry.cli.errors import UsageError
from registry.cli.options import check_output
from registry.cli.output import stderr
from registry.fusion.options import TARGETS, Target
from registry.retrieval.given_values import check_choice

if TYPE_CHECKING:
    from registry.fusion.recipe import Recipe

app = typer.Typer()

RecipeFile = Annotated[Path, typer.Argument(help="A recipe, or a PNG that carries one.")]


@app.command()
def export(
    context: typer.Context,
    recipe: RecipeFile,
    to: Annotated[
        str | None, typer.Option(help=f"Print it for {', '.join(TARGETS)}: at plain strengths.")
    ] = None,
    files: Annotated[
        Path | None, typer.Option(help="A zip to write of the adapters' files.")
    ] = None,
) -> None:
    """Write a recipe for another program, or its adapters' files under the names used there."""
    from registry.fusion.recipe import read_recipe

    if to is None and files is None:
        raise UsageError(f"give --to, with one of {', '.join(TARGETS)}, or --files, or both.")
    target = None if to is None else check_target(to)
    if files is not None:
        check_output(files)
    read = read_recipe(recipe)
    if target is not None:
        print_export(read, target)
    if files is not None:
        open_reader(context).pack(read, files)
        stderr().print(f"wrote {files}", markup=False, soft_wrap=True)


@app.command()
def send(context: typer.Context, recipe: RecipeFile) -> None:
    """Have the ComfyUI at REGISTRY_COMFYUI_URL draw a recipe, at plain strengths."""
    from registry.fusion.recipe import read_recipe

    sent = open_registry(context, tells_home=False).send_to_comfyui(read_recipe(recipe))
    typer.echo(sent.prompt_id)
    stderr().print("ComfyUI has taken it; its page shows it in its queue.", soft_wrap=True)


def print_export(recipe: "Recipe", target: Target) -> None:
    from registry.fusion.exports.adapters import NOTE, exported
    from registry.fusion.exports.export import export

    sys.stdout.write(visible(export(recipe, target)))
    stderr().print(NOTE, style="yellow", soft_wrap=True)
    for each in exported(recipe):
        used = each.used
        line = f"  {each.file} is adapter {used.id} ({used.name}), sha256 {used.sha256}"
        stderr().print(line, markup=False, soft_wrap=True)


def check_target(target: str) -> Target:
    """Return the program that is named, or refuse it."""
    return check_choice("what to export to", target, TARGETS)
