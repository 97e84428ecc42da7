"""What a search found, for people."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from registry.cli.options import FoundOptions
from registry.cli.output import add_id_column, print_more, stderr, stdout
from registry.retrieval.terms import SIGNALS, Signal

if TYPE_CHECKING:
    from registry.api.schemas.found import ResultAnswer, SearchAnswer

# What ids, scores and three signals ("0.27 #120") take of a line, gaps included.
NUMBERS_WIDTH = 45
GAP = 2
# A text has so much room at least.
LEAST_ROOM = 6
# From so many columns on there is room for more than names.
WIDE = 110


def print_search(page: "SearchAnswer", going: FoundOptions) -> None:
    """Write a page of results, the table to stdout; what there is to know of it comes around."""
    for note in page.notes:
        stderr().print(escape(note), style="yellow")
    if page.compared_by:
        stderr().print(f"compared by {', '.join(page.compared_by)}", style="dim")
    given = "the adapters given" if page.compared_by or not page.text else ""
    asked = " + ".join(filter(None, (repr(page.text) if page.text else "", given)))
    console = stdout()
    if not page.results:
        console.print(f"There is nothing for {asked}.", markup=False)
        return
    ranked = going.order()["sort"] == "relevance"
    # In another order what surely fits may be on a later page.
    if going.is_first and not page.fits and (ranked or not page.found):
        console.print(_nothing_fits(asked, perhaps=bool(page.found)), markup=False)
    console.print(_table(page.results, console.width, in_bands=ranked))
    if also := ", ".join(_also_listed(page.results)):
        console.print(f"Also listed: {also}", style="dim", markup=False)
    for result in page.results:
        if result.elsewhere:
            adapter = result.adapter
            line = f"{adapter.id} is for {adapter.base_model}: it was asked for exactly."
            stderr().print(line, style="yellow", markup=False)
    found = " · ".join(f"{name} ({count})" for name, count in page.found.items())
    said = f"fit or may fit: {found}, " if found else ""
    console.print(f"{said}{page.milliseconds:.0f} ms", style="dim", markup=False)
    print_more(going.going_on(page.next))


def _nothing_fits(asked: str, *, perhaps: bool) -> str:
    if perhaps:
        return f"Nothing surely fits {asked}; the first of these perhaps do."
    return f"Nothing fits {asked}; these come nearest."


def _table(results: "Sequence[ResultAnswer]", width: int, *, in_bands: bool) -> Table:
    """Return results as rows; in another order than by relevance bands would change every row."""
    # In 80 columns the numbers leave room for two texts; the last line names a lone base model.
    several = len({result.adapter.base_model for result in results}) > 1
    more = ("trigger words", "author") if width >= WIDE else ()
    # Files of one's own have no author.
    wide = [column for column in more if any(_texts(result)[column] for result in results)]
    texts = ("name", *wide, *(("base model",) if several else ()))
    table = Table(box=None, padding=(0, GAP, 0, 0))
    add_id_column(table)
    room = _room(results, texts, width - NUMBERS_WIDTH)
    for column in texts:
        table.add_column(column, overflow="ellipsis", no_wrap=True, max_width=room[column])
    for column in ("score", *SIGNALS):
        table.add_column(column, justify="right", min_width=len(column), no_wrap=True)
    band = None
    for result in results:
        if in_bands and result.band != band:
            band = result.band
            table.add_row("", Text(f"{band}:", style="bold"))
        table.add_row(*_row(result, texts))
    return table


def _room(results: "Sequence[ResultAnswer]", texts: Sequence[str], columns: int) -> dict[str, int]:
    """Share columns of a line out: twice as many for the name, and what others do not need."""
    left = columns - GAP * len(texts)
    share = max(LEAST_ROOM, left // (len(texts) + 1))
    room = {
        column: max(
            len(column), min(share, max(cell_len(_texts(result)[column]) for result in results))
        )
        for column in texts[1:]
    }
    return {texts[0]: max(LEAST_ROOM, left - sum(room.values())), **room}


def _texts(result: "ResultAnswer") -> dict[str, str]:
    adapter = result.adapter
    return {
        "name": adapter.name,
        "trigger words": ", ".join(adapter.trigger_words[:2]),
        "author": adapter.author,
        "base model": adapter.base_model,
    }


def _row(result: "ResultAnswer", texts: Sequence[str]) -> Iterator[str]:
    words = _texts(result)
    yield str(result.adapter.id)
    yield from (escape(words[column]) for column in texts)
    yield f"{result.score:.2f}{'=' if result.exact else ''}"
    yield from (_signal(result, signal) for signal in SIGNALS)


def _signal(result: "ResultAnswer", signal: Signal) -> str:
    score, position = result.signals.get(signal), result.positions.get(signal)
    if score is None:
        return "-"
    return f"{score:.2f} #{position}" if position else f"{score:.2f}   "


def _also_listed(results: "Sequence[ResultAnswer]") -> Iterator[str]:
    for result in results:
        for other in result.also:
            place = other.file_name if other.hub == "folder" else other.hub
            yield f"{result.adapter.id} as {other.id} at {place}"
