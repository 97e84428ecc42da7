"""Commands that say how the registry is."""

from typing import TYPE_CHECKING

import typer

from crawler.counted import counted
from registry.cli.context import open_reader
from registry.cli.options import Json
from registry.cli.output import counts_in_words, print_answer, stdout

if TYPE_CHECKING:
    from registry.api.schemas.service import (
        HubAnswer,
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
        f"adapters: {counts_in_words(status.states) or 'none'}",
        *(f"  refused {count}: {reason}" for reason, count in status.refusals.items()),
        *(["  `autolora list --state refused` names them"] if status.refusals else []),
        *(f"  withheld {count}: {reason}" for reason, count in status.withheld.items()),
        *(["  `autolora list --state listed` names them"] if status.withheld else []),
        f"waiting: {counts_in_words(status.waiting)}",
        f"handed out: {counts_in_words(status.queued) or 'nothing'}",
        f"workers: {len([worker for worker in status.workers if worker.alive])}",
        *(f"  {_worker_line(worker)}" for worker in status.workers),
    ]
    lines += [f"hub {hub.hub} {hub.endpoint}: {_hub_line(hub)}" for hub in status.hubs]
    lines += [
        f"encoder {encoder.name}: {encoder.base_model}, {counted(encoder.missing, 'file')} to embed"
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


def _hub_line(hub: "HubAnswer") -> str:
    since = hub.updated_since
    here = "nothing is complete yet" if since is None else f"here up to {since:%Y-%m-%d %H:%M} UTC"
    return f"{here}; last refreshed {hub.last_run_at:%Y-%m-%d %H:%M} UTC, {hub.last_state}"


def _worker_line(worker: "WorkerAnswer") -> str:
    state = "works" if worker.alive else f"silent since {worker.seen_at:%Y-%m-%d %H:%M} UTC"
    return f"{worker.host} {worker.pid}: {', '.join(worker.queues)}; {state}"
