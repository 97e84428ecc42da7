"""The command that says how the registry is."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from registry.cli.context import open_registry
from registry.cli.options import Json
from registry.cli.output import print_json, stdout

if TYPE_CHECKING:
    from registry.db.hubs import HubFacts
    from registry.db.jobs import WorkerFacts

app = typer.Typer()


@app.command()
def status(context: typer.Context, as_json: Json = False) -> None:
    """Say what is here, what was refused and why, what waits, who works, and of the nights."""
    registry = open_registry(context)
    status, next_night = registry.status(), registry.next_night()
    if as_json:
        print_json(asdict(status) | {"next_night": next_night})
        return
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
    night = status.last_night
    last = "none" if night is None else f"{night.due_at:%Y-%m-%d %H:%M} UTC, {night.state}"
    following = "none" if next_night is None else f"{next_night:%Y-%m-%d %H:%M} UTC"
    lines += [f"last night: {last}", f"next night: {following}"]
    for line in lines:
        stdout().print(line, markup=False, soft_wrap=True)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _hub_line(hub: "HubFacts") -> str:
    since = hub.updated_since
    here = "nothing is complete yet" if since is None else f"here up to {since:%Y-%m-%d %H:%M} UTC"
    return f"{here}; last refreshed {hub.last_run_at:%Y-%m-%d %H:%M} UTC, {hub.last_state}"


def _worker_line(worker: "WorkerFacts") -> str:
    state = "works" if worker.alive else f"silent since {worker.seen_at:%Y-%m-%d %H:%M} UTC"
    return f"{worker.host} {worker.pid}: {', '.join(worker.queues)}; {state}"
