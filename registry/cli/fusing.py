"""Commands that make images."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from registry.cli.errors import UsageError
from registry.cli.output import print_fused, print_json, progress_bar, stderr

if TYPE_CHECKING:
    from registry.fusion.recipe import Recipe
    from registry.remote import RemoteRegistry
    from registry.service import Registry

TARGETS = ("diffusers", "a1111", "comfyui")
MODES = ("gated", "sum", "average", "base")

Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1)]
Steps = Annotated[int | None, typer.Option(min=1, max=100)]
SizeOption = Annotated[str | None, typer.Option(help="Pixels: 768x512, or 512 for a square.")]
Mode = Annotated[str, typer.Option(help="gated, sum, average or base.")]
BaseModel = Annotated[str | None, typer.Option(help="Only adapters of this base model.")]


def fuse(
    prompt: Annotated[str | None, typer.Argument(help="What to draw.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The PNG to write.")] = Path(
        "fused.png"
    ),
    adapters: Annotated[
        str | None, typer.Option(help="Ids, each with a strength if wanted: 12,7:0.8")
    ] = None,
    k: Annotated[
        int, typer.Option("-k", "--most", min=1, max=5, help="Find at most so many adapters.")
    ] = 3,
    base_model: BaseModel = None,
    seed: Seed = 0,
    steps: Steps = None,
    size: SizeOption = None,
    mode: Mode = "gated",
    check: Annotated[
        bool, typer.Option(help="Measure how far the adapters depart from the base together.")
    ] = True,
    recipe: Annotated[
        Path | None, typer.Option(help="Make the image of a recipe, or of a PNG, again.")
    ] = None,
    export: Annotated[
        str | None,
        typer.Option(help="Print it for diffusers, a1111 or comfyui: at plain strengths."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the recipe as JSON.")] = False,
) -> None:
    """Make an image with adapters that suit the prompt, or with those named."""
    if (prompt is None) == (recipe is None):
        raise UsageError("give either a prompt or --recipe.")
    check_output(output)
    check_target(export)
    ids, strengths = parse_adapters(adapters)
    with open_registry() as registry, progress_bar("Making the image") as progress:
        if recipe is not None:
            from registry.fusion.recipe import read_recipe

            fused = registry.maker.reproduce(read_recipe(recipe), progress)
        else:
            fused = registry.maker.fuse(
                prompt or "",
                k=k,
                adapters=ids,
                strengths=strengths,
                base_model=base_model,
                seed=seed,
                steps=steps,
                size=parse_size(size),
                mode=parse_mode(mode),
                check=check,
                progress=progress,
            )
        fused.save(output)
    if export is not None:
        print_export(fused.recipe, export)
    elif as_json:
        print_json(fused.recipe.model_dump(mode="json", by_alias=True))
    else:
        print_fused(fused)
    for warning in fused.recipe.warnings:
        stderr().print(f"Note: {warning}.", style="yellow", markup=False, soft_wrap=True)
    stderr().print(f"wrote {output}", markup=False)


def export(
    recipe: Annotated[Path, typer.Argument(help="A recipe, or a PNG that carries one.")],
    to: Annotated[str, typer.Option(help="diffusers, a1111 or comfyui.")],
) -> None:
    """Print a recipe for another program, with the same adapters at plain strengths."""
    from registry.fusion.recipe import read_recipe

    check_target(to)
    print_export(read_recipe(recipe), to)


def print_export(recipe: "Recipe", target: str) -> None:
    from registry.fusion.exports import NOTE, export, loaded

    sys.stdout.write(export(recipe, target))
    stderr().print(NOTE, style="yellow", soft_wrap=True)
    for used, name, _ in loaded(recipe):
        said = f"  {name}.safetensors is adapter {used.id} ({used.name}), sha256 {used.sha256}"
        stderr().print(said, markup=False, soft_wrap=True)


def check_target(target: str | None) -> None:
    if target is not None and target not in TARGETS:
        raise UsageError(f"exports are to {', '.join(TARGETS)}, and not to {target!r}.")


More = Annotated[
    list[str] | None, typer.Argument(metavar="", help="More ids after --adapters.", hidden=True)
]
SheetOutput = Annotated[Path, typer.Option("--output", "-o", help="The PNG to write.")]


def grid(
    prompt: Annotated[str, typer.Argument(help="What to draw.")],
    more: More = None,
    adapters: Annotated[str, typer.Option(help="Ids: 12 7 31, or 12,7,31.")] = "",
    output: SheetOutput = Path("grid.png"),
    seed: Seed = 0,
    steps: Steps = None,
    size: SizeOption = None,
    mode: Mode = "gated",
) -> None:
    """Draw every pair of adapters fused, and each alone on the diagonal, on one sheet."""
    ids = parse_ids(adapters, more)
    if ids is None or len(ids) < 2:
        raise UsageError("give two adapters or more, like --adapters 12 7 31.")
    check_output(output)
    with open_registry() as registry, progress_bar("Drawing the sheet") as progress:
        sheet = registry.maker.grid(
            prompt,
            ids,
            seed=seed,
            steps=steps,
            size=parse_size(size),
            mode=parse_mode(mode),
            progress=progress,
        )
    sheet.save(output)
    stderr().print(f"wrote {output}", markup=False)


def compare(
    prompt: Annotated[str, typer.Argument(help="What to draw.")],
    more: More = None,
    adapters: Annotated[
        str | None, typer.Option(help="Ids: 12 7, or 12,7. Without, they are found.")
    ] = None,
    output: SheetOutput = Path("compare.png"),
    k: Annotated[
        int, typer.Option("-k", "--most", min=1, max=5, help="Find at most so many adapters.")
    ] = 3,
    base_model: BaseModel = None,
    seed: Seed = 0,
    steps: Steps = None,
    size: SizeOption = None,
) -> None:
    """Draw the base, each adapter alone, their sum, average and gated fusion, side by side."""
    ids = parse_ids(adapters, more)
    check_output(output)
    with open_registry() as registry, progress_bar("Drawing the sheet") as progress:
        sheet = registry.maker.compare(
            prompt,
            k=k,
            adapters=ids,
            base_model=base_model,
            seed=seed,
            steps=steps,
            size=parse_size(size),
            progress=progress,
        )
    sheet.save(output)
    stderr().print(f"wrote {output}", markup=False)


def parse_ids(given: str | None, more: list[str] | None) -> list[int] | None:
    """Read `12,7` or `12` followed by the words `7`…"""
    if given is None and not more:
        return None
    if not given:
        raise UsageError(f"{(more or [''])[0]!r} is one word too many; put the prompt in quotes.")
    words = [word for part in [given, *(more or [])] for word in part.split(",") if word]
    try:
        return [int(word) for word in words]
    except ValueError:
        raise UsageError(f"--adapters has {' '.join(words)!r}; write ids, like 12 7.") from None


def open_registry() -> "Registry | RemoteRegistry":
    """Open the registry at REGISTRY_URL if that is set, or this machine's own."""
    from registry.config import Settings

    settings = Settings()
    if settings.url is not None:
        from registry.remote import RemoteRegistry

        return RemoteRegistry(settings)
    from registry.service import Registry

    return Registry(settings)


def check_output(output: Path) -> None:
    """Refuse a path that cannot be written to, before anything slow."""
    if not output.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {output.absolute().parent} to write to.")


def parse_adapters(given: str | None) -> tuple[list[int] | None, list[float] | None]:
    """Read `12,7:0.8` as ids and strengths."""
    if given is None:
        return None, None
    ids, strengths = [], []
    for part in given.split(","):
        id_, _, strength = part.partition(":")
        try:
            ids.append(int(id_))
            strengths.append(float(strength or 1))
        except ValueError:
            raise UsageError(
                f"--adapters has {part!r}; write ids with strengths, like 12,7:0.8."
            ) from None
    return ids, strengths


def parse_size(given: str | None) -> tuple[int, int] | None:
    """Read `768x512` as width and height, and `512` as both."""
    if given is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", given)
    if found is None:
        raise UsageError(f"--size is {given!r}; write pixels, like 768x512.")
    width, height = found.groups()
    return int(width), int(height or width)


def parse_mode(mode: str) -> Any:
    if mode not in MODES:
        raise UsageError(f"--mode is {mode!r}; it is one of {', '.join(MODES)}.")
    return mode
