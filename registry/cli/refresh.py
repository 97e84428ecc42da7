"""Commands that bring in adapters: refresh, crawl, encode."""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer
from rich import filesize

from crawler.counted import counted
from registry.cli.context import open_registry
from registry.cli.loading import multiply_with_one_thread
from registry.cli.options import CrawlOptions, Json, grouped
from registry.cli.output import print_json, stdout
from registry.cli.progress import show_refresh

if TYPE_CHECKING:
    from registry.db.runs import RunFacts
    from registry.refresh.pipeline import StepProgress

app = typer.Typer()

Source = Annotated[
    str | None,
    typer.Option(help="A hub's address or a folder. Default: REGISTRY_MODELSCOPE_ENDPOINT."),
]
Full = Annotated[
    bool, typer.Option("--full", help="List everything, and mark what has vanished as gone.")
]

Force = Annotated[
    bool,
    typer.Option("--force", help="Of a full or a folder's listing: however much has vanished."),
]


@app.command()
@grouped
def refresh(
    context: typer.Context,
    filters: CrawlOptions,
    source: Source = None,
    full: Full = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Crawl what changed, download, read, encode and publish it. Safe to stop and rerun."""
    _run(context, _Crawl(source, filters, full, force), as_json)


@app.command()
@grouped
def crawl(
    context: typer.Context,
    filters: CrawlOptions,
    source: Source = None,
    full: Full = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """List and download what changed, without indexing it."""
    _run(context, _Crawl(source, filters, full, force), as_json, asks_hub=True)


@app.command()
def encode(context: typer.Context, as_json: Json = False) -> None:
    """Index what was downloaded and is not indexed yet, without asking a hub."""
    _run(context, _Crawl(), as_json, asks_hub=False)


@dataclass(frozen=True, slots=True)
class _Crawl:
    """What is to be crawled, as options say it."""

    source: str | None = None
    filters: CrawlOptions = field(default_factory=CrawlOptions)
    full: bool = False
    force: bool = False


def _run(
    context: typer.Context, crawl: _Crawl, as_json: bool, asks_hub: bool | None = None
) -> None:
    """Run the steps that ask the hub, or those that do not, or (None) all."""
    multiply_with_one_thread()
    from registry.refresh.pipeline import STEPS, Pipeline
    from registry.refresh.sources import open_source

    steps = [step for step in STEPS if asks_hub in (None, step.asks_hub)]
    registry = open_registry(context)
    # What is asked for counts for the listing and, by its layers, for each file.
    settings = crawl.filters.over(registry.settings)
    with closing(open_source(crawl.source, settings)) as opened:
        pipeline = Pipeline(registry.sessions, registry.blobs, settings, registry.text_encoder)
        refreshed = pipeline.refresh(opened, full=crawl.full, force=crawl.force, steps=steps)
        ids: list[int] = []
        counts = show_refresh(_noting(ids, refreshed))
    # By its id: another refresh may have begun meanwhile, of the same source too.
    run = registry.run(ids[0])
    ready = sum(registry.base_models().values())
    if as_json:
        fetched = {"fetched_bytes": run.fetched_bytes, "bytes_per_adapter": run.bytes_per_adapter}
        print_json({"counts": counts, "ready": ready, **fetched, "error": run.error})
    else:
        skipped = {entry["step"]: entry["message"] for entry in run.counts["skipped"]}
        # Some steps have nothing to do with how this registry is set.
        for step in (step for step in steps if step.name in counts):
            if step.name in skipped:
                stdout().print(f"{step.title}: skipped; {skipped[step.name]}", markup=False)
                continue
            count = counts[step.name]
            failed = f", {count['failed']} failed" if count["failed"] else ""
            stdout().print(f"{step.title}: {count['ok']}{failed}", markup=False)
        stdout().print(f"{counted(ready, 'adapter')} ready{_fetched(run)}", style="bold")
    # A bad adapter is a hub's daily bread; a hub that is down is not, nor is a wrong setting.
    if run.error is not None:
        raise typer.Exit(1)


def _noting(
    ids: list[int], refreshed: "Generator[StepProgress, None, int]"
) -> "Iterator[StepProgress]":
    ids.append((yield from refreshed))


def _fetched(run: "RunFacts") -> str:
    """Say what the hub sent of files, and how much that was for each adapter indexed."""
    if not run.fetched_bytes:
        return ""
    each = run.bytes_per_adapter
    share = "" if each is None else f", {filesize.decimal(each)} for each of {run.indexed} indexed"
    return f"; {filesize.decimal(run.fetched_bytes)} fetched{share}"
