"""Results for people, on stdout; notes go to stderr."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from crawler.counted import counted
from crawler.foreign_text import visible
from registry.cli.streams import is_unicode

if TYPE_CHECKING:
    from pydantic import BaseModel

    from registry.api.schemas.found import FacetsAnswer
    from registry.fusion.fused_image import FusedImage

Shape = TypeVar("Shape", bound="BaseModel")


class HarmlessConsole(Console):
    """Shows what strangers wrote as what it is: no sign of it acts on the terminal.

    Whatever is printed or put into a table comes through here, so no place can forget it.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        # `:fire:` in a name is a name.
        return super().render_str(visible(text), **(options | {"emoji": False}))


def stdout() -> Console:
    # Made anew each time: tests and pipes replace the stream.
    return HarmlessConsole(file=sys.stdout, highlight=False)


def stderr() -> Console:
    return HarmlessConsole(file=sys.stderr, highlight=False)


def print_json(value: Any) -> None:
    """Write JSON for programs: no colours, no wrapping, Chinese as it is where that can be."""
    ascii_only = not is_unicode(sys.stdout)
    text = json.dumps(value, ensure_ascii=ascii_only, indent=2, default=_moment)
    # As escapes where a terminal would act on them; programs read the same.
    signs = (s if s.isprintable() or s == "\n" else json.dumps(s)[1:-1] for s in text)
    sys.stdout.write("".join(signs) + "\n")


def _moment(value: Any) -> str:
    if not isinstance(value, datetime):
        raise TypeError(f"{type(value).__name__} is nothing that JSON knows")
    return value.isoformat()


def add_id_column(table: Table) -> None:
    """Add the column of ids, whole however narrow the terminal: other commands take them."""
    table.add_column("id", justify="right", style="bold", no_wrap=True, min_width=3)


def facts_table(**options: Any) -> Table:
    """Return a table of two columns, names and what is said of them; `options` are Rich's."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), **options)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def print_answer(answer: Shape, show: Callable[[Shape], None], *, as_json: bool) -> None:
    """Write what a registry answers: as its API says it to programs, or as `show` does to people.

    Whether it was this process that answered or a server makes no difference.
    """
    if as_json:
        print_json(answer.model_dump(mode="json"))
    else:
        show(answer)


def print_more(option: str | None) -> None:
    """Say with which option the page after this one is asked for, if there is one."""
    if option is not None:
        stderr().print(f"More: the same with {option}", style="dim", soft_wrap=True)


def print_facet_counts(facets: "FacetsAnswer") -> None:
    """Write each facet's values in a line, as options write them."""
    table = facts_table()
    for facet in facets.facets:
        about = "" if facet.exact else "about "
        values = [
            f"{_facet_value(facet.name, value.value)} ({about}{value.count:,})"
            for value in facet.values
        ]
        more = [f"and {facet.more:,} more"] if facet.more > 0 else []
        if values:
            table.add_row(facet.name.replace("_", "-"), escape(" · ".join([*values, *more])))
    stdout().print(table)
    about = "" if facets.total_exact else "about "
    stdout().print(f"{about}{counted(facets.about, 'adapter')}", style="dim")


def _facet_value(facet: str, value: str) -> str:
    # Sizes are ranges, by their least bytes.
    return f"from {decimal(int(value))}" if facet == "size" else value


def print_facts(facts: Mapping[str, Any]) -> None:
    # Without an edge a sha256 fits into a line of 80, and can be copied.
    table = facts_table(pad_edge=False)
    for name, value in facts.items():
        if value in ("", None, []):
            continue
        shown = " · ".join(map(str, value)) if isinstance(value, list) else str(value)
        table.add_row(name.replace("_", " "), escape(shown))
    stdout().print(table)


def print_fused(fused: "FusedImage") -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    add_id_column(table)
    table.add_column("adapter", overflow="ellipsis", no_wrap=True)
    for column in ("strength", "gates open", "licence"):
        table.add_column(column, justify="right")
    for used in fused.recipe.adapters:
        layers = fused.activity.get(used.sha256, {})
        openness = f"{sum(layers.values()) / len(layers):.0%}" if layers else "-"
        table.add_row(
            str(used.id),
            escape(used.name),
            f"{used.strength:.2f}",
            openness,
            escape(used.licence or "not stated"),
        )
    stdout().print(table)
    recipe = fused.recipe
    if recipe.full_prompt != recipe.prompt:
        stdout().print(f"prompt: {recipe.full_prompt}", markup=False, style="dim")
    if recipe.departure is not None:
        line = f"change of the base: {recipe.departure:.2f} times that of the strongest alone"
        stdout().print(line, style="dim")
    stdout().print(f"mode: {recipe.mode}", style="dim")
    stdout().print(f"strictest licence: {recipe.licence}", markup=False, style="dim")


def print_table(rows: Sequence[Mapping[str, str]], nothing: str) -> None:
    """Write rows with equal keys as a table without empty columns, or `nothing`."""
    if not rows:
        stdout().print(nothing, markup=False)
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    columns = [column for column in rows[0] if any(row[column] for row in rows)]
    for column in columns:
        if column == "id":
            add_id_column(table)
        else:
            table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(row[column]) for column in columns))
    stdout().print(table)


def counts_in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def first_of(names: Sequence[str], most: int) -> str:
    """Return so many names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def range_in_words(numbers: Sequence[float]) -> str:
    """Return the smallest and the largest of numbers that are in order."""
    ends = (numbers[0], numbers[-1]) if numbers else ()
    return " to ".join(dict.fromkeys(f"{end:.4g}" for end in ends))


def last_of(path: str, room: int) -> str:
    """Return a path, or its end if it takes more than so many columns: there files differ."""
    if cell_len(path) <= room:
        return path
    return "…" + set_cell_size(path[::-1], room - 1)[::-1].strip()
