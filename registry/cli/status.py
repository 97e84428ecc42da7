"""Commands that say how the registry is."""

from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.context import open_reader
from registry.cli.options import Cursor, Json
from registry.cli.output import print_answer, print_next, print_table, stdout

if TYPE_CHECKING:
    from registry.api.schemas.service import (
        HubAnswer,
        RunAnswer,
        RunListAnswer,
        StatusAnswer,
        WorkerAnswer,
    )

app = typer.Typer()


@app.command()
def status(context: typer.Context, as_json: Json = False) -> None:
    """Say what is here, what was refused and why, what waits, who works, and of the nights."""
    print_answer(open_reader(context).status(), _print_status, as_json=as_json)


def _print_status(status: "StatusAnswer") -> None:
    lines = [
        f"adapters: {_counts(status.states) or 'none'}",
        *(f"  refused {count}: {reason}" for reason, count in status.refusals.items()),
        f"waiting: {_counts(status.waiting)}",
        f"handed out: {_counts(status.queued) or 'nothing'}",
        f"workers: {len([worker for worker in status.workers if worker.alive])}",
        *(f"  {_worker_line(worker)}" for worker in status.workers),
    ]
    lines += [f"hub {hub.hub} {hub.endpoint}: {_hub_line(hub)}" for hub in status.hubs]
    lines += [
        f"encoder {encoder.name}: {encoder.base_model}, {encoder.missing} files to embed"
        for encoder in status.encoders
    ]
    disk = status.disk
    lines.append(
        f"disk: {disk.free / 1e9:.1f} of {disk.total / 1e9:.1f} GB free; "
        f"database {disk.database / 1e6:.0f} MB, adapters' files {disk.files / 1e6:.0f} MB"
    )
    night, following = status.last_night, status.next_night
    last = "none" if night is None else f"{night.due_at:%Y-%m-%d %H:%M} UTC, {night.state}"
    coming = "none" if following is None else f"{following:%Y-%m-%d %H:%M} UTC"
    lines += [f"last night: {last}", f"next night: {coming}"]
    for line in lines:
        stdout().print(line, markup=False, soft_wrap=True)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _hub_line(hub: "HubAnswer") -> str:
    since = hub.updated_since
    here = "nothing is complete yet" if since is None else f"here up to {since:%Y-%m-%d %H:%M} UTC"
    return f"{here}; last refreshed {hub.last_run_at:%Y-%m-%d %H:%M} UTC, {hub.last_state}"


def _worker_line(worker: "WorkerAnswer") -> str:
    state = "works" if worker.alive else f"silent since {worker.seen_at:%Y-%m-%d %H:%M} UTC"
    return f"{worker.host} {worker.pid}: {', '.join(worker.queues)}; {state}"


@app.command()
def runs(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=200, help="List at most this many.")] = 20,
    cursor: Cursor = None,
    as_json: Json = False,
) -> None:
    """List refreshes, the newest first, with what came of them."""
    page = open_reader(context).runs(limit, cursor=cursor)
    print_answer(page, _print_runs, as_json=as_json)


def _print_runs(page: "RunListAnswer") -> None:
    print_table([_run_row(run) for run in page.items], "Nothing was refreshed yet.")
    print_next(page.next)


def _run_row(run: "RunAnswer") -> dict[str, str]:
    return {
        "run": str(run.id),
        "hub": run.hub,
        "started": f"{run.started_at:%Y-%m-%d %H:%M}",
        "state": run.state,
        "took": f"{sum(run.seconds.values()):.0f} s",
        "error": run.error or "",
    }
