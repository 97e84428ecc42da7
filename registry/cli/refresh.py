"""Commands that bring in adapters: crawl, encode, refresh, and registering encoders."""

from collections import Counter
from collections.abc import Collection, Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from registry.cli.errors import UsageError
from registry.cli.output import print_json, stderr, stdout

if TYPE_CHECKING:
    from crawler.records import Source
    from registry.pipeline import Pipeline, Progress
    from registry.service import Registry

LISTING = ("crawl", "fetch")
INDEXING = ("read", "caption", "embed", "publish")
STEP_NAMES = {
    "crawl": "Listing",
    "fetch": "Downloading",
    "read": "Reading files",
    "caption": "Encoding captions",
    "embed": "Encoding weights",
    "publish": "Publishing",
}
# Problems shown while they happen; the run's report has more.
MOST_SHOWN = 20

SourceOption = Annotated[
    str | None,
    typer.Option(help="A ModelScope endpoint or a folder. Default: REGISTRY_MODELSCOPE_ENDPOINT."),
]
FullOption = Annotated[
    bool, typer.Option("--full", help="List everything, and mark what has vanished as gone.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")]

encoder_app = typer.Typer(help="Weight encoders.", no_args_is_help=True)


def refresh(
    source: SourceOption = None, full: FullOption = False, as_json: JsonOption = False
) -> None:
    """Crawl what changed, download, read, encode and publish it. Safe to stop and rerun."""
    _run((*LISTING, *INDEXING), source, full, as_json)


def crawl(
    source: SourceOption = None, full: FullOption = False, as_json: JsonOption = False
) -> None:
    """List and download what changed, without indexing it."""
    _run(LISTING, source, full, as_json)


def encode(as_json: JsonOption = False) -> None:
    """Index what was downloaded and is not indexed yet, without asking a hub."""
    _run(INDEXING, None, False, as_json)


@encoder_app.command("register")
def register(
    path: Annotated[Path, typer.Argument(help="A checkpoint (.safetensors).")],
    as_json: JsonOption = False,
) -> None:
    """Make a checkpoint the active encoder of its base model, and encode what is here by it."""
    from registry.db.encoders import register_encoder
    from registry.service import Registry

    with Registry() as registry:
        with registry.sessions.begin() as session:
            encoder = register_encoder(session, registry.blobs, path)
            facts: dict[str, Any] = {
                "name": encoder.name,
                "base_model": encoder.base_model,
                "metrics": encoder.metrics,
            }
        with closing(_source(registry, None)) as source:
            counts = _show(_pipeline(registry).refresh(source, steps=("embed", "publish")))
    if as_json:
        print_json(facts | {"embed": counts.get("embed", {})})
    else:
        embedded = counts.get("embed", Counter())["ok"]
        line = f"{encoder.name} is active for {encoder.base_model}; {embedded} files encoded"
        stdout().print(line, markup=False)


def _run(steps: Collection[str], source: str | None, full: bool, as_json: bool) -> None:
    from registry.service import Registry

    with Registry() as registry:
        with closing(_source(registry, source)) as opened:
            counts = _show(_pipeline(registry).refresh(opened, full=full, steps=steps))
        [run] = registry.runs(limit=1)
        ready = sum(registry.base_models().values())
    if as_json:
        print_json({"counts": counts, "ready": ready, "error": run.error})
    else:
        for step, count in counts.items():
            failed = f", {count['failed']} failed" if count["failed"] else ""
            stdout().print(f"{STEP_NAMES[step]}: {count['ok']}{failed}", markup=False)
        stdout().print(f"{ready} adapters ready", style="bold")
    # A bad adapter is a hub's daily bread; a hub that is down is not.
    if run.error is not None:
        raise typer.Exit(1)


def _show(steps: "Iterable[Progress]") -> dict[str, Counter[str]]:
    """Draw bars and problems on stderr; return the counts by step."""
    console = stderr()
    counts: dict[str, Counter[str]] = {}
    columns = (
        TextColumn("{task.description:<18}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    shown = 0
    with Bars(*columns, console=console) as bars:
        tasks = {}
        for progress in steps:
            if progress.step not in tasks:
                name = STEP_NAMES[progress.step]
                tasks[progress.step] = bars.add_task(name, total=progress.total)
                counts[progress.step] = Counter(ok=0, failed=0)
            bars.update(tasks[progress.step], completed=progress.done, total=progress.total)
            outcome = progress.outcome
            if outcome is None:
                continue
            counts[progress.step]["ok" if outcome.ok else "failed"] += 1
            if not outcome.ok:
                shown += 1
                _show_problem(console, shown, f"{outcome.adapter}: {outcome.message}")
    return counts


def _show_problem(console: Console, number: int, problem: str) -> None:
    if number <= MOST_SHOWN:
        console.print(escape(problem), style="yellow", soft_wrap=True)
    elif number == MOST_SHOWN + 1:
        console.print("More problems are in the run's report (GET /v1/runs).", style="yellow")


def _pipeline(registry: "Registry") -> "Pipeline":
    from registry.pipeline import Pipeline

    return Pipeline(registry.sessions, registry.blobs, registry.settings, registry.text_encoder)


def _source(registry: "Registry", given: str | None) -> "Source":
    settings = registry.settings
    if given is None or given == settings.modelscope_endpoint:
        from crawler.sources.modelscope import ModelScopeSource

        token = settings.modelscope_token
        return ModelScopeSource(
            settings.modelscope_endpoint, token.get_secret_value() if token else None
        )
    if given.startswith(("http://", "https://")):
        from crawler.sources.modelscope import ModelScopeSource

        # The token belongs to the configured endpoint, and to nobody else.
        return ModelScopeSource(given)
    from crawler.sources.folder import FolderSource

    if not Path(given).is_dir():
        raise UsageError(f"--source is {given!r}, neither an address nor a folder.")
    return FolderSource(Path(given))
