"""`autolora search --picture`: the adapters of a picture, for people."""

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from registry.cli.output import add_id_column, stderr, stdout

if TYPE_CHECKING:
    from registry.api.schemas.picture import FoundByAnswer, MissingAnswer, PictureAnswer


def print_picture(page: "PictureAnswer") -> None:
    for note in page.notes:
        stderr().print(escape(note), style="yellow")
    if page.prompt:
        stdout().print(f"prompt: {page.prompt}", markup=False, style="dim")
    if page.description:
        stdout().print(f"description: {page.description}", markup=False, style="dim")
    for named in page.missing:
        stdout().print(f"not here: {_words(named)}", markup=False, style="yellow")
    if not page.results:
        stdout().print("Nothing here made this picture, as far as can be told.")
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    add_id_column(table)
    for column in ("name", "base model", "found by"):
        table.add_column(column, overflow="fold")
    for result in page.results:
        ways = ", ".join(map(_way, result.found_by))
        adapter = result.adapter
        table.add_row(str(adapter.id), *map(escape, (adapter.name, adapter.base_model, ways)))
    stdout().print(table)


def _words(named: "MissingAnswer") -> str:
    name = named.name or f"Civitai version {named.version}"
    strength = "" if named.strength is None else f" at {named.strength:g}"
    return " ".join([f"{name}{strength}", *named.hashes])


def _way(by: "FoundByAnswer") -> str:
    if by.way in ("hash", "version", "name"):
        return by.way if by.strength is None else f"{by.way} (at {by.strength:g})"
    way = "by its description" if by.way == "description" else by.way
    return f"{way} {by.similarity:.2f}"
