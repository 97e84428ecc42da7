"""The command that does tasks of refreshes that run elsewhere."""

import logging
from typing import Annotated

import typer

from registry.cli.context import open_registry
from registry.cli.errors import UsageError, report
from registry.cli.loading import multiply_with_one_thread
from registry.cli.output import stderr

app = typer.Typer()

logger = logging.getLogger(__name__)


@app.command()
def worker(
    context: typer.Context,
    queue: Annotated[
        list[str] | None,
        typer.Option(help="fetch, read, caption or embed. Repeat for several; default: all."),
    ] = None,
) -> None:
    """Do the work of refreshes and nights, beside any number of others, until it is stopped."""
    multiply_with_one_thread()
    from registry.logs import set_up_logs
    from registry.refresh.pipeline import Pipeline
    from registry.refresh.worker import QUEUES, Worker

    chosen = tuple(dict.fromkeys(queue or QUEUES))
    unknown = set(chosen) - set(QUEUES)
    if unknown:
        raise UsageError(f"there is no queue {sorted(unknown)[0]!r}: {', '.join(QUEUES)}.")
    registry = open_registry(context)
    settings = registry.settings
    set_up_logs(settings)
    tell = report if settings.log_format == "text" else logger.info
    pipeline = Pipeline(registry.sessions, registry.blobs, settings, registry.text_encoder)
    worker = Worker(pipeline, registry.sessions, settings, chosen, tell)
    worker.stop_at_signals()
    stderr().print(f"Working on {', '.join(chosen)} (Ctrl-C stops)", markup=False)
    worker.run()
