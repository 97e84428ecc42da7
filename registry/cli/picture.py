"""`autolora search --picture`: the adapters of a picture, for people and for programs."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from registry.cli.output import add_id_column, print_json, stderr, stdout

if TYPE_CHECKING:
    from crawler.pictures.adapters import NamedAdapter
    from registry.retrieval.by_picture import FoundBy, PicturePage
    from registry.retrieval.filters import Filters
    from registry.service import Registry


def search_by_picture(
    registry: "Registry", picture: Path, filters: "Filters", limit: int, *, as_json: bool
) -> None:
    """Print the adapters that a picture in a file was made with, or that made one like it."""
    from registry.api.schemas.found import PictureAnswer

    page = registry.search_picture(picture, filters, limit)
    if as_json:
        print_json(PictureAnswer.from_page(page).model_dump(mode="json"))
    else:
        print_page(page)


def print_page(page: "PicturePage") -> None:
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
        card = result.card
        table.add_row(str(card.id), *map(escape, (card.name, card.base_model, ways)))
    stdout().print(table)


def _words(named: "NamedAdapter") -> str:
    name = named.name or f"Civitai version {named.version}"
    strength = "" if named.strength is None else f" at {named.strength:g}"
    return " ".join([f"{name}{strength}", *named.hashes])


def _way(by: "FoundBy") -> str:
    if by.way in ("hash", "version", "name"):
        return by.way if by.strength is None else f"{by.way} (at {by.strength:g})"
    way = "by its description" if by.way == "description" else by.way
    return f"{way} {by.similarity:.2f}"
