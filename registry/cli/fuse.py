"""Commands that make images."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crawler.whole_file import written_whole
from registry.cli.context import open_drawer
from registry.cli.errors import UsageError
from registry.cli.export import check_target, print_export
from registry.cli.options import (
    DrawingOptions,
    FindingOptions,
    ModeOptions,
    Png,
    check_png,
    grouped,
)
from registry.cli.output import print_fused, print_json, stderr
from registry.cli.progress import progress_bar
from registry.fusion.options import TARGETS

if TYPE_CHECKING:
    from PIL.Image import Image

    from registry.fusion.fused_image import FusedImage

# Between ids: also a comma as Chinese keyboards write it.
SEPARATORS = re.compile(r"[\s,，]+")
# What says nothing of how an image is drawn, and may stand beside a recipe.
BESIDE_RECIPE = {"recipe", "output", "export", "as_json"}

app = typer.Typer()

MoreIds = Annotated[
    list[str] | None, typer.Argument(metavar="ID", help="More ids after --adapters.", hidden=True)
]


@dataclass(frozen=True, slots=True)
class CheckedDrawingOptions(ModeOptions):
    """How adapters that were found are fused."""

    check: Annotated[
        bool, typer.Option(help="Measure how far the adapters depart from the base together.")
    ] = True


@dataclass(frozen=True, slots=True)
class ResultOptions:
    """What is written of an image."""

    output: Png = Path("fused.png")
    export: Annotated[
        str | None,
        typer.Option(help=f"Print it for {', '.join(TARGETS)}: at plain strengths."),
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print the recipe as JSON.")] = False

    def check(self) -> None:
        """Refuse what makes no sense, before anything slow."""
        check_png(self.output)
        if self.export is not None:
            check_target(self.export)

    def write(self, fused: "FusedImage") -> None:
        fused.save(self.output)
        if self.export is not None:
            print_export(fused.recipe, check_target(self.export))
        elif self.as_json:
            print_json(fused.recipe.model_dump(mode="json", by_alias=True))
        else:
            print_fused(fused)
        for warning in fused.recipe.warnings:
            stderr().print(f"Note: {warning}.", style="yellow", markup=False, soft_wrap=True)
        stderr().print(f"wrote {self.output}", markup=False)


@app.command()
@grouped
def fuse(
    context: typer.Context,
    prompt: Annotated[str | None, typer.Argument(help="What to draw.")] = None,
    more: MoreIds = None,
    *,
    adapters: Annotated[
        str | None,
        typer.Option(help="Ids: 12 7, or 12,7. Each with a strength if wanted: 12 7:0.8"),
    ] = None,
    finding: FindingOptions,
    drawing: CheckedDrawingOptions,
    recipe: Annotated[
        Path | None, typer.Option(help="Make the image of a recipe, or of a PNG, again.")
    ] = None,
    result: ResultOptions,
) -> None:
    """Make an image with adapters that suit the prompt, or with those named."""
    if (prompt is None) == (recipe is None):
        raise UsageError("give either a prompt or --recipe.")
    if recipe is not None:
        check_recipe_alone(context)
    if adapters is None:
        prompt, more = joined(prompt, more), None
    result.check()
    ids, strengths = parse_adapters(adapters, more)
    asked, mode = drawing.asked, drawing.parsed_mode
    drawer = open_drawer(context)
    with progress_bar("Making the image") as progress:
        if recipe is not None:
            from registry.fusion.recipe import read_recipe

            fused = drawer.reproduce(read_recipe(recipe), progress)
        else:
            fused = drawer.fuse(
                prompt or "",
                k=finding.k,
                adapters=ids,
                strengths=strengths,
                base_model=finding.base_model,
                mode=mode,
                check=drawing.check,
                progress=progress,
                **asked,
            )
    result.write(fused)


def check_recipe_alone(context: typer.Context) -> None:
    """Refuse what would count for nothing beside a recipe, whatever its value."""
    given = [
        option.opts[-1]
        for option in context.command.params
        if option.name not in BESIDE_RECIPE and is_typed(context, str(option.name))
    ]
    if given:
        raise UsageError(f"a recipe says all that there is to say; leave out {', '.join(given)}.")


def is_typed(context: typer.Context, name: str) -> bool:
    """Whether an option stands on the command line, if with the value that it has anyway."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


@app.command()
@grouped
def grid(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(help="What to draw.")],
    more: MoreIds = None,
    *,
    adapters: Annotated[
        str | None, typer.Option(help="Ids: 12 7 31. Each with a strength if wanted: 12 7:0.8 31")
    ] = None,
    drawing: ModeOptions,
    output: Png = Path("grid.png"),
) -> None:
    """Draw every pair of adapters fused, and each alone on the diagonal, on one sheet."""
    ids, strengths = parse_adapters(adapters, more)
    if ids is None or len(ids) < 2:
        raise UsageError("give two adapters or more, like --adapters 12 7 31.")
    check_png(output)
    asked, mode = drawing.asked, drawing.parsed_mode
    drawer = open_drawer(context)
    with progress_bar("Drawing the sheet") as progress:
        sheet = drawer.grid(prompt, ids, strengths=strengths, mode=mode, progress=progress, **asked)
    write_sheet(sheet, output)


@app.command()
@grouped
def compare(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(help="What to draw.")],
    more: MoreIds = None,
    *,
    adapters: Annotated[
        str | None,
        typer.Option(help="Ids, with strengths if wanted: 12 7:0.8. Without, they are found."),
    ] = None,
    finding: FindingOptions,
    drawing: DrawingOptions,
    output: Png = Path("compare.png"),
) -> None:
    """Draw the base, each adapter alone, their sum, average and gated fusion, side by side."""
    if adapters is None:
        prompt, more = joined(prompt, more) or "", None
    ids, strengths = parse_adapters(adapters, more)
    check_png(output)
    asked = drawing.asked
    drawer = open_drawer(context)
    with progress_bar("Drawing the sheet") as progress:
        sheet = drawer.compare(
            prompt,
            k=finding.k,
            adapters=ids,
            strengths=strengths,
            base_model=finding.base_model,
            progress=progress,
            **asked,
        )
    write_sheet(sheet, output)


def write_sheet(sheet: "Image", output: Path) -> None:
    """Write a sheet as a PNG, whatever its file is called."""
    with written_whole(output) as partial:
        sheet.save(partial, "PNG")
    stderr().print(f"wrote {output}", markup=False)


def joined(prompt: str | None, more: Sequence[str] | None) -> str | None:
    """Return a prompt that came in several words: no ids follow where no adapters are named."""
    return prompt if prompt is None else " ".join([prompt, *(more or [])])


def parse_adapters(
    given: str | None, more: Sequence[str] | None
) -> tuple[list[int] | None, list[float | None] | None]:
    """Read `12,7:0.8`, or `12` followed by the words `7:0.8`…

    Without a strength the adapter's own counts.
    """
    ids: list[int] = []
    strengths: list[float | None] = []
    for word in _words(given, more):
        id_, _, strength = word.partition(":")
        try:
            ids.append(int(id_))
            strengths.append(float(strength) if strength else None)
        except ValueError:
            raise UsageError(
                f"--adapters has {word!r}; write ids with strengths, like 12 7:0.8, and the prompt "
                "in quotes."
            ) from None
    return (ids, strengths) if ids else (None, None)


def _words(given: str | None, more: Sequence[str] | None) -> list[str]:
    """Return what stands behind --adapters: one word, in quotes several, and those that follow."""
    if more and not given:
        raise UsageError(f"{more[0]!r} is one word too many; put the prompt in quotes.")
    if given == "":
        raise UsageError("--adapters names none; write ids, like 12 7.")
    return [
        word for part in [given or "", *(more or [])] for word in SEPARATORS.split(part) if word
    ]
