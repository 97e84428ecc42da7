"""Options that several commands share, once; and groups of options as values."""

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from registry.cli.errors import UsageError

if TYPE_CHECKING:
    from registry.retrieval.likeness import Likes

MODES = ("gated", "sum", "average", "base")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
AdapterId = Annotated[
    int, typer.Argument(metavar="ID", min=1, help="As `autolora search` shows it.")
]
BaseModel = Annotated[str | None, typer.Option(help="Only adapters of this base model.")]
Limit = Annotated[int, typer.Option(min=1, max=100, help="List at most this many.")]
Most = Annotated[
    int, typer.Option("-k", "--most", min=1, max=5, help="Find at most this many adapters.")
]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Another one, another result.")]
Steps = Annotated[int | None, typer.Option(min=1, max=100, help="Default: the base model's.")]
Size = Annotated[str | None, typer.Option(help="Pixels: 768x512, or 512 for a square.")]
Mode = Annotated[str, typer.Option(help="gated, sum, average or base.")]
Png = Annotated[Path, typer.Option("--output", "-o", help="The PNG to write.")]


@dataclass(frozen=True, slots=True)
class FilterOptions:
    """Which adapters come into question."""

    base_model: BaseModel = None
    author: Annotated[str | None, typer.Option(help="Only this author's.")] = None
    tag: Annotated[list[str] | None, typer.Option(help="Repeat for several.")] = None
    licence: Annotated[str | None, typer.Option(help="Only under this licence.")] = None
    hub: Annotated[str | None, typer.Option(help="Only from this hub.")] = None


@dataclass(frozen=True, slots=True)
class LikeOptions:
    """What results should be like besides a text, and unlike."""

    like: Annotated[
        list[int] | None, typer.Option(metavar="ID", help="Like this adapter; up to 10.")
    ] = None
    unlike: Annotated[
        list[int] | None, typer.Option(metavar="ID", help="Unlike this adapter; up to 10.")
    ] = None
    unlike_text: Annotated[str, typer.Option(help="What they should not look like.")] = ""

    def likes(self) -> "Likes":
        from registry.retrieval.likeness import Likes

        return Likes(tuple(self.like or ()), tuple(self.unlike or ()), self.unlike_text)


@dataclass(frozen=True, slots=True)
class FindingOptions:
    """How adapters are found for a prompt where none are named."""

    k: Most = 3
    base_model: BaseModel = None


@dataclass(frozen=True, slots=True)
class DrawingOptions:
    """How an image is drawn."""

    seed: Seed = 0
    steps: Steps = None
    size: Size = None

    @property
    def pixels(self) -> tuple[int, int] | None:
        """Read `768x512` as width and height, and `512` as both."""
        if self.size is None:
            return None
        numbers = re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", self.size)
        if numbers is None:
            raise UsageError(f"--size is {self.size!r}; write pixels, like 768x512.")
        width, height = numbers.groups()
        return int(width), int(height or width)


@dataclass(frozen=True, slots=True)
class ModeOptions(DrawingOptions):
    """How an image is drawn, and how adapters are put together in it."""

    mode: Mode = "gated"

    @property
    def parsed_mode(self) -> Any:
        if self.mode not in MODES:
            raise UsageError(f"--mode is {self.mode!r}; it is one of {', '.join(MODES)}.")
        return self.mode


def check_output(output: Path) -> None:
    """Refuse a path that cannot be written to, before anything slow."""
    if not output.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {output.absolute().parent} to write to.")


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take options in groups: for Typer, a dataclass becomes its fields.

    Typer knows single options only, and a signature with a dozen of them says little.
    """
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, Any] = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if is_dataclass(parameter.annotation)
    }

    @wraps(command)
    def with_groups(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        command(**given)

    single = [
        option
        for parameter in signature.parameters.values()
        for option in _options_of(parameter, groups)
    ]
    with_groups.__signature__ = signature.replace(parameters=single)  # type: ignore[attr-defined]
    return with_groups


def _options_of(
    parameter: inspect.Parameter, groups: dict[str, Any]
) -> Iterator[inspect.Parameter]:
    """Yield a group's fields as parameters, or a parameter that is no group as it is."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    group = groups.get(parameter.name)
    if group is None:
        yield parameter.replace(kind=keyword)
        return
    hints = get_type_hints(group, include_extras=True)
    for field in fields(group):
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        yield inspect.Parameter(field.name, keyword, default=default, annotation=hints[field.name])
