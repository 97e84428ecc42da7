"""Options that several commands share, once; and groups of options as values."""

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Protocol,
    TypedDict,
    TypeVar,
    cast,
    get_type_hints,
)

import typer

from crawler.disk import is_folder
from crawler.whole_file import check_writable
from registry.cli.errors import UsageError
from registry.retrieval.given_values import check_choice
from registry.retrieval.terms import FOUND_SORTS, MATURITIES, FoundSort
from registry.retrieval.terms import FilterOptions as Asked

if TYPE_CHECKING:
    from registry.config import Settings
    from registry.fusion.options import DrawingOptions as Drawn
    from registry.fusion.options import Mode as FusionMode

# Ids are as large as PostgreSQL's bigint.
LARGEST = 2**63 - 1

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def _adapter_id(given: str | int) -> int:
    number = str(given)
    if not (number.isascii() and number.isdecimal() and 0 < int(number) <= LARGEST):
        raise UsageError(
            f"{number!r} is no adapter's id; `autolora search` and `autolora list` show them."
        )
    return int(number)


AdapterId = Annotated[
    int, typer.Argument(metavar="ID", parser=_adapter_id, help="As `autolora search` shows it.")
]
BaseModel = Annotated[str | None, typer.Option(help="Only adapters of this base model.")]
Limit = Annotated[int, typer.Option(min=1, max=100, help="List at most this many.")]
Most = Annotated[
    int, typer.Option("-k", "--most", min=1, max=5, help="Find at most this many adapters.")
]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Another one, another result.")]
Steps = Annotated[int | None, typer.Option(min=1, max=100, help="Default: the base model's.")]
Size = Annotated[str | None, typer.Option(help="Pixels: 768x512, or 512 for a square.")]
Guidance = Annotated[
    float | None,
    typer.Option(min=0, max=30, help="How closely the prompt is kept to. Default: the base's."),
]
Negative = Annotated[str, typer.Option(help="What the image should not show.")]
Mode = Annotated[
    str | None,
    typer.Option(
        help="gated, sum, average or base. Default: gated where the base has gates, else average."
    ),
]
Png = Annotated[Path, typer.Option("--output", "-o", help="The PNG to write.")]
Rank = Annotated[int | None, typer.Option(min=1, help="Of its layers, the median.")]
FileSize = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Like 200MB or 1.5GB; a number alone is bytes."),
]
# No adapter's file has so few bytes: who writes less means another unit.
FEWEST_BYTES = 1000
Day = Annotated[str | None, typer.Option(metavar="DAY", help="Like 2026-01-31.")]
# One of several values must hold.
Several = "Repeat for several."


@dataclass(frozen=True, slots=True)
class FilterOptions:
    """Which adapters come into question."""

    base_model: Annotated[
        list[str] | None, typer.Option(help=f"As hubs, trainers or people call it. {Several}")
    ] = None
    family: Annotated[
        list[str] | None, typer.Option(help=f"All base models of an architecture. {Several}")
    ] = None
    author: Annotated[list[str] | None, typer.Option(help=f"Only this author's. {Several}")] = None
    tag: Annotated[
        list[str] | None, typer.Option(help="Repeat for several: it has all of them.")
    ] = None
    licence: Annotated[
        list[str] | None, typer.Option(help=f"Only under this licence. {Several}")
    ] = None
    commercial: Annotated[
        bool | None, typer.Option(help="Whether its licence lets pictures be sold.")
    ] = None
    hub: Annotated[list[str] | None, typer.Option(help=f"Only from this hub. {Several}")] = None
    trainer: Annotated[
        list[str] | None, typer.Option(help=f"Only what this program trained. {Several}")
    ] = None
    min_rank: Rank = None
    max_rank: Rank = None
    min_size: FileSize = None
    max_size: FileSize = None
    updated_since: Day = None
    updated_before: Day = None
    trigger_words: Annotated[bool | None, typer.Option(help="Whether it has any.")] = None
    fusable: Annotated[bool | None, typer.Option(help="Whether it can be fused.")] = None
    favourite: Annotated[bool | None, typer.Option(help="Whether it is marked as one.")] = None
    mature: Annotated[str, typer.Option(help="any, hide (keeps what nobody rated) or only.")] = (
        "any"
    )

    def asked(self) -> Asked:
        """Return what is asked for; whoever answers reads the values."""
        check_choice("--mature", self.mature, MATURITIES)
        _check_unit("--min-size", self.min_size)
        _check_unit("--max-size", self.max_size)
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return cast(Asked, {name: value for name, value in given.items() if value is not None})


def _check_unit(option: str, size: str | None) -> None:
    """Refuse a number that would be bytes, and was hardly meant so."""
    number = (size or "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", number) and 0 < float(number) < FEWEST_BYTES:
        raise UsageError(
            f"{option} is {number}, which would be bytes; write {number}MB, or {number}B if it is."
        )


OrderSeed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the random order.")]


class Paged(Protocol):
    """An answer that may go on: `next` is the cursor of the page after it."""

    @property
    def next(self) -> str | None: ...


Page = TypeVar("Page", bound=Paged)


@dataclass(frozen=True, slots=True)
class PageOptions:
    """Which page of an answer: by its number for people, by a cursor for programs."""

    page: Annotated[int, typer.Option(min=1, help="Which page of the list.")] = 1
    cursor: Annotated[
        str | None, typer.Option(help="For programs: go on at the `next` of a page's JSON.")
    ] = None

    def read(self, ask: Callable[[str | None], Page]) -> Page:
        """Return the page that is meant, of those that `ask` gives by their cursors.

        The pages before it are asked for too: where one begins only the one before knows.
        """
        if self.cursor is not None and self.page > 1:
            raise UsageError("--page and --cursor both say where to go on; give one of them.")
        answer = ask(self.cursor)
        for number in range(1, self.page):
            if answer.next is None:
                raise UsageError(f"there is no page {self.page}: the last one is {number}.")
            answer = ask(answer.next)
        return answer

    @property
    def is_first(self) -> bool:
        return self.page == 1 and self.cursor is None

    def going_on(self, cursor: str | None) -> str | None:
        """Return the option that asks for the page after this one, None where this is the last."""
        if cursor is None:
            return None
        return f"--page {self.page + 1}" if self.cursor is None else f"--cursor {cursor}"


@dataclass(frozen=True, slots=True)
class PagingOptions(PageOptions):
    """In what order all adapters are listed, and where in it."""

    sort: Annotated[
        str, typer.Option(help="name, newest, updated, downloads, size, rank or random.")
    ] = "newest"
    seed: OrderSeed = 0
    limit: Annotated[int, typer.Option(min=1, max=200, help="List at most this many.")] = 50


class FoundOrder(TypedDict):
    """In which order what was found is listed, and how many to a page."""

    sort: FoundSort
    limit: int
    seed: int


@dataclass(frozen=True, slots=True)
class FoundOptions(PageOptions):
    """In what order those that were found are listed, and where in it."""

    sort: Annotated[
        str,
        typer.Option(help="relevance, name, newest, updated, downloads, size, rank or random."),
    ] = "relevance"
    seed: OrderSeed = 0
    limit: Limit = 10

    def order(self) -> FoundOrder:
        sort = check_choice("--sort", self.sort, FOUND_SORTS)
        return {"sort": sort, "limit": self.limit, "seed": self.seed}


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

    def __bool__(self) -> bool:
        return bool(self.like or self.unlike or self.unlike_text)


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
    guidance: Guidance = None
    negative: Negative = ""

    @property
    def asked(self) -> "Drawn":
        """Return them as whoever draws takes them."""
        return {
            "seed": self.seed,
            "steps": self.steps,
            "size": self.pixels,
            "guidance": self.guidance,
            "negative": self.negative,
        }

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

    mode: Mode = None

    @property
    def parsed_mode(self) -> "FusionMode | None":
        from registry.fusion.options import MODES

        return None if self.mode is None else check_choice("--mode", self.mode, MODES)


@dataclass(frozen=True, slots=True)
class CrawlOptions:
    """Which of a hub's adapters are crawled; None leaves it to REGISTRY_CRAWL_...."""

    base_model: Annotated[
        list[str] | None, typer.Option(help="Of hubs, only this base model. Repeat for several.")
    ] = None
    tag: Annotated[list[str] | None, typer.Option(help="Of hubs, only with one of these tags.")] = (
        None
    )
    licence: Annotated[
        list[str] | None, typer.Option(help="Of hubs, only under one of these licences.")
    ] = None
    min_downloads: Annotated[
        int | None, typer.Option(min=0, help="Of hubs, only what has so many downloads.")
    ] = None
    mature: Annotated[
        bool | None, typer.Option("--mature/--not-mature", help="Of hubs, only what is, or is not.")
    ] = None
    updated_since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Of hubs, only what changed since this day."),
    ] = None

    def over(self, settings: "Settings") -> "Settings":
        """Return settings with what was said in their place."""
        said = {
            "crawl_base_models": self.base_model,
            "crawl_tags": self.tag,
            "crawl_licences": self.licence,
            "crawl_min_downloads": self.min_downloads,
            "crawl_mature": self.mature,
            "crawl_updated_since": self.updated_since and self.updated_since.date(),
        }
        return settings.model_copy(
            update={name: value for name, value in said.items() if value is not None}
        )


def check_output(output: Path) -> None:
    """Refuse a path that cannot be written to, before anything slow."""
    if not is_folder(output.absolute().parent):
        raise UsageError(f"there is no folder {output.absolute().parent} to write to.")
    if is_folder(output):
        raise UsageError(f"{output} is a folder; name a file to write.")
    try:
        check_writable(output)
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}.") from error


def beside(output: Path, ending: str) -> Path:
    """Return the name of what goes with an output: `gates.v1` and `gates.v2` share none."""
    return output.with_name(output.name.removesuffix(".safetensors") + ending)


def check_png(output: Path) -> None:
    """Refuse the same, and a name that says of a PNG that it is another kind of picture."""
    from registry.fusion.options import OTHER_PICTURES

    check_output(output)
    if output.suffix.lower() in OTHER_PICTURES:
        raise UsageError(f"--output is {output}; images are PNGs, so end it in .png.")


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
