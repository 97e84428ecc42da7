"""Results for people, on stdout; notes go to stderr."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from crawler.foreign_text import visible
from registry.cli.streams import is_unicode
from registry.retrieval.terms import SIGNALS, VERDICT_LISTS, Signal

if TYPE_CHECKING:
    from pydantic import BaseModel

    from registry.api.schemas.adapters import AdapterDetailAnswer
    from registry.api.schemas.found import FacetsAnswer, ResultAnswer, SearchAnswer
    from registry.fusion.fused_image import FusedImage

Shape = TypeVar("Shape", bound="BaseModel")
# What ids, scores and three signals ("0.27 #120") take of a line, gaps included.
NUMBERS_WIDTH = 45


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


def print_answer(answer: Shape, show: Callable[[Shape], None], *, as_json: bool) -> None:
    """Write what a registry answers: as its API says it to programs, or as `show` does to people.

    Whether it was this process that answered or a server makes no difference.
    """
    if as_json:
        print_json(answer.model_dump(mode="json"))
    else:
        show(answer)


def print_next(cursor: str | None) -> None:
    """Say how the page after this one is asked for, if there is one."""
    if cursor is not None:
        stderr().print(f"More: the same with --cursor {cursor}", style="dim", soft_wrap=True)


def print_search(page: "SearchAnswer", sort: str) -> None:
    for note in page.notes:
        stderr().print(escape(note), style="yellow")
    if page.compared_by:
        stderr().print(f"compared by {', '.join(page.compared_by)}", style="dim")
    asked = repr(page.text) if page.text else "the adapters given"
    if not page.results:
        stdout().print(f"There is nothing for {asked}.", markup=False)
        return
    if not page.fits:
        stdout().print(f"Nothing fits {asked}; these come nearest.", markup=False)
    console = stdout()
    # In 80 columns the numbers leave room for two texts; the last line names a lone base model.
    several = len({result.adapter.base_model for result in page.results}) > 1
    wide = ("trigger words", "author") if console.width >= 110 else ()
    texts = ("name", *wide, *(("base model",) if several else ()))
    table = Table(box=None, padding=(0, 2, 0, 0))
    add_id_column(table)
    room = max(6, (console.width - NUMBERS_WIDTH) // len(texts) - 2)
    for column in texts:
        table.add_column(column, overflow="ellipsis", no_wrap=True, max_width=room)
    for column in ("score", *SIGNALS):
        table.add_column(column, justify="right", min_width=len(column), no_wrap=True)
    band = None
    for result in page.results:
        adapter = result.adapter
        # In another order bands would change from row to row; scores tell as much.
        if result.band != band and sort == "relevance":
            band = result.band
            table.add_row("", Text(f"{band}:", style="bold"))
        words = {
            "name": adapter.name,
            "trigger words": ", ".join(adapter.trigger_words[:2]),
            "author": adapter.author,
            "base model": adapter.base_model,
        }
        table.add_row(
            str(adapter.id),
            *(escape(words[column]) for column in texts),
            f"{result.score:.2f}{'=' if result.exact else ''}",
            *(_signal(result, signal) for signal in SIGNALS),
        )
    console.print(table)
    also = [
        f"{result.adapter.id} as {other.id} at {other.hub}"
        for result in page.results
        for other in result.also
    ]
    if also:
        console.print(f"Also listed: {', '.join(also)}", style="dim", markup=False)
    for result in page.results:
        if result.elsewhere:
            adapter = result.adapter
            line = f"{adapter.id} is for {adapter.base_model}: it was asked for exactly."
            stderr().print(line, style="yellow", markup=False)
    found = " · ".join(f"{name} ({count})" for name, count in page.found.items())
    said = f"found: {found}, " if found else ""
    console.print(f"{said}{page.milliseconds:.0f} ms", style="dim", markup=False)
    print_next(page.next)


def _signal(result: "ResultAnswer", signal: Signal) -> str:
    score, position = result.signals.get(signal), result.positions.get(signal)
    if score is None:
        return "-"
    return f"{score:.2f} #{position}" if position else f"{score:.2f}   "


def print_facet_counts(facets: "FacetsAnswer") -> None:
    """Write each facet's values in a line, as options write them."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for facet in facets.facets:
        about = "" if facet.exact else "about "
        values = [f"{value.value} ({about}{value.count:,})" for value in facet.values]
        more = [f"and {facet.more:,} more"] if facet.more > 0 else []
        if values:
            table.add_row(facet.name.replace("_", "-"), escape(" · ".join([*values, *more])))
    stdout().print(table)
    about = "" if facets.total_exact else "about "
    stdout().print(f"{about}{facets.about:,} adapters", style="dim")


def print_detail(detail: "AdapterDetailAnswer") -> None:
    facts: dict[str, Any] = {
        "name": detail.name,
        "author": detail.author,
        "base model": detail.base_model,
        "claimed": f"{detail.claim.base_model}, by {detail.claim.who}" if detail.claim else "",
        "trigger words": ", ".join(detail.trigger_words),
        "strength": "" if detail.strength is None else f"{detail.strength:g}",
        "negative prompt": detail.negative_prompt,
        "tags": ", ".join(detail.tags),
        "licence": detail.licence or "not stated",
        "hub": f"{detail.hub} {detail.repo} {detail.version}".strip(),
        "page": detail.page_url or "",
        "downloads": detail.downloads,
        "updated": detail.updated_at.date(),
        "file": detail.file_name,
        "size": "" if detail.file_size is None else f"{detail.file_size:,} bytes",
        "sha256": detail.file_sha256 or "",
        "AutoV2": detail.autov2 or "",
        "AutoV3": detail.autov3 or "",
        "state": detail.state + (f": {detail.refusal}" if detail.refusal else ""),
        "description": detail.description,
    }
    print_facts(facts)
    if detail.verdict:
        stdout().print("\nwhat the file says", style="bold")
        # Names of all layers are for programs.
        shown = {k: v for k, v in detail.verdict.items() if k not in VERDICT_LISTS}
        print_facts(shown)
    for cover in detail.covers:
        words = cover.prompt or (cover.captions[0] if cover.captions else "")
        line = f"cover {cover.position}: {cover.width}x{cover.height} {words}"
        stdout().print(line, markup=False, style="dim")


def print_claim(detail: "AdapterDetailAnswer") -> None:
    """Say what an adapter is for now, by whose word, and what its file says to that."""
    claim = detail.claim
    facts: dict[str, Any] = {
        "adapter": detail.name,
        "base model": detail.base_model,
        "claimed": f"{claim.base_model}, by {claim.who}" if claim else "",
        "evidence": (detail.verdict or {}).get("evidence", []),
        "fusable": "yes" if detail.fusable else "no",
        "state": detail.state + (f": {detail.refusal}" if detail.refusal else ""),
    }
    print_facts(facts)


def print_facts(facts: Mapping[str, Any]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
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
    stdout().print(f"strictest licence: {recipe.licence}", markup=False, style="dim")


def print_table(rows: Sequence[Mapping[str, str]], nothing: str) -> None:
    """Write rows with equal keys as a table, or `nothing`."""
    if not rows:
        stdout().print(nothing, markup=False)
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in rows[0]:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(value) for value in row.values()))
    stdout().print(table)
