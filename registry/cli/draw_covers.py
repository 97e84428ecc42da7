"""The command that draws covers for adapters that came without any."""

from typing import Annotated

import typer

from crawler.counted import counted
from registry.cli.context import open_registry
from registry.cli.errors import report
from registry.cli.options import Json
from registry.cli.output import print_json, stdout
from registry.cli.progress import show_outcomes

app = typer.Typer()


@app.command()
def draw_covers(
    context: typer.Context,
    base_model: Annotated[
        str | None, typer.Option(help="Of adapters of this base model only.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after this many.")] = None,
    as_json: Json = False,
) -> None:
    """Draw covers for adapters that came without any, with themselves. Safe to stop and rerun."""
    from registry.refresh.steps.draw_covers import DrawCoversStep
    from registry.retrieval.filters import known_name

    registry = open_registry(context)
    drawing = registry.cover_drawing
    name = None if base_model is None else known_name(base_model)
    wanted = drawing.wanted(name)
    waiting = drawing.count_waiting(wanted)
    total = waiting if limit is None else min(limit, waiting)
    outcomes = drawing.draw_waiting(wanted, limit)
    counts = show_outcomes(outcomes, DrawCoversStep.title, total, report)
    left = drawing.count_waiting(drawing.wanted(name))
    facts = {"drawn": counts["ok"], "failed": counts["failed"], "waiting": left}
    if as_json:
        print_json(facts)
        return
    done = f"{counted(counts['ok'], 'cover')} drawn"
    stdout().print(f"{done}, {counts['failed']} failed, {left} waiting", markup=False)
    if not registry.settings.base_models:
        stdout().print("no base model is here to draw with; set REGISTRY_BASE_MODELS", style="dim")
