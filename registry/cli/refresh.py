"""Commands that bring in adapters: crawl, encode, refresh."""

from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.errors import UsageError
from registry.cli.output import STEP_NAMES, print_json, show_refresh, stdout

if TYPE_CHECKING:
    from crawler.records import Source
    from registry.refresh.pipeline import Pipeline
    from registry.service import Registry

LISTING = ("crawl", "fetch")
INDEXING = ("read", "caption", "embed", "publish")
SourceOption = Annotated[
    str | None,
    typer.Option(help="A ModelScope endpoint or a folder. Default: REGISTRY_MODELSCOPE_ENDPOINT."),
]
FullOption = Annotated[
    bool, typer.Option("--full", help="List everything, and mark what has vanished as gone.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")]


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


def _run(steps: Collection[str], source: str | None, full: bool, as_json: bool) -> None:
    from registry.service import Registry

    with Registry() as registry:
        with closing(_source(registry, source)) as opened:
            counts = show_refresh(_pipeline(registry).refresh(opened, full=full, steps=steps))
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


def _pipeline(registry: "Registry") -> "Pipeline":
    from registry.refresh.pipeline import Pipeline

    return Pipeline(registry.sessions, registry.blobs, registry.settings, registry.text_encoder)


def _source(registry: "Registry", given: str | None) -> "Source":
    settings = registry.settings
    if given is None or given == settings.modelscope_endpoint:
        from crawler.sources.modelscope import ModelScopeSource

        token = settings.modelscope_token
        return ModelScopeSource(
            settings.modelscope_endpoint,
            token.get_secret_value() if token else None,
            limits=settings.disk_limits,
        )
    if given.startswith(("http://", "https://")):
        from crawler.sources.modelscope import ModelScopeSource

        # The token belongs to the configured endpoint, and to nobody else.
        return ModelScopeSource(given, limits=settings.disk_limits)
    from crawler.sources.folder import FolderSource

    if not Path(given).is_dir():
        raise UsageError(f"--source is {given!r}, neither an address nor a folder.")
    return FolderSource(Path(given), settings.disk_limits)
