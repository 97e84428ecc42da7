"""Commands for weight encoders: add, backfill, promote, rollback, remove, list."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crawler.counted import counted
from registry.cli.context import open_registry
from registry.cli.errors import report
from registry.cli.options import Json
from registry.cli.output import print_json, print_table, stderr, stdout
from registry.cli.progress import show_outcomes

if TYPE_CHECKING:
    from registry.db.encoders import EncoderFacts
    from registry.service import Registry

app = typer.Typer(
    name="encoders",
    help="Weight encoders: add, back-fill, promote, roll back, remove.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="As `autolora encoders list` shows it.")]


@app.command("list")
def list_all(context: typer.Context, as_json: Json = False) -> None:
    """List encoders: which serve, what they were measured at, what they have embedded."""
    from registry.db.encoders import list_encoders

    with open_registry(context).sessions() as session:
        encoders = list_encoders(session)
    if as_json:
        print_json([_facts(encoder) for encoder in encoders])
        return
    rows = [
        {
            "name": encoder.name,
            "base model": encoder.base_model,
            "state": "active" if encoder.active else "",
            "embedded": f"{encoder.embedded}/{encoder.embedded + encoder.missing}",
            "validation MRR": _mrr(encoder),
            "sketches": encoder.sketch_version,
            "added": f"{encoder.created_at:%Y-%m-%d}",
        }
        for encoder in encoders
    ]
    print_table(rows, "No encoder is registered: `autolora encoders add CHECKPOINT`.")
    for encoder in encoders:
        if encoder.is_unfinished:
            left = counted(encoder.missing, "file is", "files are")
            note = f"{left} still to embed by {encoder.name}: "
            note += f"`autolora encoders backfill {encoder.name}` goes on there"
            stderr().print(note, style="dim", markup=False, soft_wrap=True)


@app.command()
def add(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A checkpoint (.safetensors).")],
    as_json: Json = False,
) -> None:
    """Register a checkpoint beside the encoders that are there; it does not serve yet."""
    from registry.db.encoders import register_encoder

    registry = open_registry(context)
    with registry.sessions.begin() as session:
        encoder = register_encoder(session, registry.blobs, path)
        facts = {
            "name": encoder.name,
            "base_model": encoder.base_model,
            "text_encoder": encoder.text_encoder,
            "sketch_version": encoder.sketch_version,
            "metrics": encoder.metrics,
        }
    if as_json:
        print_json(facts)
    else:
        stdout().print(
            f"{encoder.name} is registered for {encoder.base_model}. Next: "
            f"`autolora encoders backfill {encoder.name}`, then `autolora encoders promote "
            f"{encoder.name}`.",
            markup=False,
            soft_wrap=True,
        )


@app.command("backfill")
def backfill_one(context: typer.Context, name: Name) -> None:
    """Embed everything by an encoder, from stored sketches. Safe to stop and rerun."""
    done, failed = _backfill(open_registry(context), name)
    stdout().print(f"{counted(done, 'file')} embedded by {name}, {failed} failed", markup=False)
    raise typer.Exit(1 if failed else 0)


@app.command()
def promote(
    context: typer.Context,
    name: Name,
    force: Annotated[
        str | None,
        typer.Option("--force", metavar="REASON", help="Although thresholds are not met."),
    ] = None,
) -> None:
    """Let search use an encoder, in one transaction: complete and good enough, or not at all."""
    base_model = open_registry(context).promote(name, reason=force)
    stdout().print(f"{name} is active for {base_model}", markup=False)


@app.command()
def rollback(
    context: typer.Context,
    base_model: Annotated[str | None, typer.Argument(help="Default: the main one.")] = None,
) -> None:
    """Let search use the encoder again that the present one replaced, or none if it was first."""
    from registry.db.encoders import find_active
    from registry.db.promotion import find_fallback
    from registry.retrieval.filters import known_name

    registry = open_registry(context)
    base_model = known_name(base_model or registry.default_base_model())
    with registry.sessions() as session:
        # That of its family serves it too.
        active = find_active(session, base_model)
        base_model = base_model if active is None else active.base_model
        fallback = find_fallback(session, base_model)
    if fallback is not None:
        # It may lack what came since it was replaced.
        _backfill(registry, fallback.name)
    name = registry.roll_back(base_model)
    said = f"{name} is active again" if name else "no encoder is active"
    stdout().print(f"{said} for {base_model}", markup=False)


@app.command()
def remove(
    context: typer.Context,
    name: Name,
    force: Annotated[
        bool, typer.Option("--force", help="Also what a rollback would go back to.")
    ] = False,
) -> None:
    """Remove an encoder that does not serve, and its embeddings. Its checkpoint stays a blob."""
    removed = open_registry(context).remove_encoder(name, force=force)
    said = f"{name} is removed, and {counted(removed, 'embedding')} with it"
    stdout().print(said, markup=False)


def _backfill(registry: "Registry", name: str) -> tuple[int, int]:
    """Return how many files were embedded, and how many could not be."""
    from registry.db.encoders import count_missing, get_encoder
    from registry.refresh.backfill import backfill
    from registry.refresh.steps.embed import EmbedStep

    with registry.sessions() as session:
        encoder = get_encoder(session, name)
        total = count_missing(session, encoder)
    outcomes = backfill(registry.sessions, registry.blobs, encoder)
    counts = show_outcomes(outcomes, EmbedStep.title, total, report)
    return counts["ok"], counts["failed"]


def _facts(encoder: "EncoderFacts") -> dict[str, Any]:
    return {
        "name": encoder.name,
        "base_model": encoder.base_model,
        "active": encoder.active,
        "served": encoder.served,
        "embedded": encoder.embedded,
        "missing": encoder.missing,
        "text_encoder": encoder.text_encoder,
        "sketch_version": encoder.sketch_version,
        "metrics": encoder.metrics,
        "created_at": encoder.created_at.isoformat(),
    }


def _mrr(encoder: "EncoderFacts") -> str:
    mrr = encoder.metrics.get("validation", {}).get("mrr")
    return "-" if mrr is None else f"{mrr:.3f}"
