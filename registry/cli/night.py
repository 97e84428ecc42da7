"""Commands for nights: one now, all of them, and what came of them."""

import logging
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from registry.child_python import child_environment, child_words
from registry.cli.context import open_reader, open_registry
from registry.cli.errors import report
from registry.cli.options import Json, Limit
from registry.cli.output import last_of, print_json, print_table, stderr, stdout
from registry.cli.progress import log_refresh, show_refresh
from registry.errors import RegistryError

if TYPE_CHECKING:
    from registry.api.schemas.service import NightAnswer, RunAnswer
    from registry.db.nights import NightFacts
    from registry.service import Registry

app = typer.Typer()

logger = logging.getLogger(__name__)

# When nights are due where nothing else is said.
THREE = time(3)
# What all columns of refreshes but the source take of a line.
RUN_WIDTH = 68

At = Annotated[
    datetime | None,
    typer.Option(
        formats=["%H:%M"], help="The hour of UTC. Default: REGISTRY_NIGHTLY_AT, or 03:00."
    ),
]


@app.command()
def night(
    context: typer.Context,
    now: Annotated[bool, typer.Option("--now", help="One more, whether it is due or not.")] = False,
    at: At = None,
    as_json: Json = False,
) -> None:
    """Do the night that was due last, unless it is done: refresh all sources, and test search.

    Exits with 1 where it, or a source in it, failed.
    """
    from registry.logs import set_up_logs
    from registry.refresh.due import last_due
    from registry.refresh.night import NightWatch

    registry = open_registry(context)
    moment = datetime.now(UTC)
    due_at = moment if now else last_due(_hour(registry, at), moment)
    watch = NightWatch(registry.sessions, registry.blobs, registry.settings, registry.text_encoder)
    set_up_logs(registry.settings)
    show = show_refresh if registry.settings.log_format == "text" else log_refresh
    show(watch.run(due_at))
    last = next((one for one in registry.nights(limit=5) if one.due_at == due_at), None)
    if as_json:
        print_json(None if last is None else asdict(last))
    elif last is None or last.state in ("running", "interrupted"):
        stdout().print("another process is at a night; this one did nothing", markup=False)
    else:
        _print_night(last)
    # As a refresh does: a bad adapter is a hub's daily bread; a hub that is down is not.
    failed = [] if last is None else _failed_sources(last)
    if last is not None and failed:
        sources = len(last.report["sources"])
        _teller(registry)(f"{len(failed)} of {sources} sources failed: {'; '.join(failed)}")
    if failed or (last is not None and last.state == "failed"):
        raise typer.Exit(1)


@app.command()
def schedule(context: typer.Context, at: At = None) -> None:
    """Have every night done when it is due, and one that was missed at once, until stopped."""
    from registry.logs import set_up_logs

    registry = open_registry(context)
    set_up_logs(registry.settings)
    hour = _hour(registry, at)
    stderr().print(f"Nights are due at {hour:%H:%M} UTC (Ctrl-C stops)", markup=False)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with nights_done(registry, hour):
        stopped.wait()


@app.command()
def runs(
    context: typer.Context,
    limit: Limit = 10,
    problems: Annotated[
        bool, typer.Option("--problems", help="Say of each refresh what failed, and why.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the last nights and refreshes, and what came of them."""
    reader = open_reader(context)
    nights, refreshes = reader.nights(limit).items, reader.runs(limit).items
    if as_json:
        print_json(
            {
                "nights": [one.model_dump(mode="json") for one in nights],
                "runs": [run.model_dump(mode="json") for run in refreshes],
            }
        )
        return
    print_table([_night_row(one) for one in nights], "No night was done: `autolora night --now`.")
    _print_lines(
        f"night {one.due_at:%Y-%m-%d %H:%M}: {_problem(one)}" for one in nights if _problem(one)
    )
    room = max(12, stdout().width - RUN_WIDTH)
    rows = [
        {
            "refresh": str(run.id),
            "began": f"{run.started_at:%m-%d %H:%M}",
            "source": last_of(run.endpoint or run.hub, room),
            "state": run.state,
            "failed": str(_failures(run.counts)),
            "MB": f"{run.fetched_bytes / 1e6:.1f}",
            "indexed": str(run.indexed),
            "seconds": f"{sum(run.seconds.values()):.0f}",
        }
        for run in refreshes
    ]
    print_table(rows, "Nothing was refreshed yet: `autolora refresh`.")
    _print_lines(f"refresh {run.id}: {run.error}" for run in refreshes if run.error)
    if problems:
        _print_lines(line for run in refreshes for line in _problem_lines(run))
    elif any(_failures(run.counts) for run in refreshes):
        stderr().print("`autolora runs --problems` says what failed, and why", style="dim")


@contextmanager
def nights_done(registry: "Registry", at: time) -> Iterator[None]:
    """Have nights done by processes of their own: a server has no memory nor time to spare."""
    from registry.refresh.due import last_due
    from registry.refresh.schedule import clock

    stopping = threading.Event()
    tell = _teller(registry)
    began = datetime.now(UTC)

    def look() -> None:
        due_at = last_due(at, datetime.now(UTC))
        try:
            over = registry.is_night_over(due_at, is_missed=due_at < began)
        except RegistryError as error:
            # The next look tries again.
            tell(str(error))
            return
        if not over:
            _do_night(f"{at:%H:%M}", stopping)

    with clock(at, look):
        try:
            yield
        finally:
            stopping.set()


def _teller(registry: "Registry") -> Callable[[str], None]:
    """Return what says a line on stderr, in the format of logs."""
    return report if registry.settings.log_format == "text" else logger.warning


def _do_night(at: str, stopping: threading.Event) -> None:
    # Which home this is was said when it began: not again every night.
    with subprocess.Popen(
        child_words("registry", "--local", "night", "--at", at),
        env=child_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    ) as process:
        while process.poll() is None:
            if stopping.wait(0.5):
                # As Ctrl-C does: what was done is kept, and the next look goes on from there.
                process.send_signal(signal.SIGINT)
                return


def _hour(registry: "Registry", at: datetime | None) -> time:
    return at.time() if at is not None else registry.settings.nightly_at or THREE


def _night_row(night: "NightFacts | NightAnswer") -> dict[str, Any]:
    report = night.report
    recall = (report.get("canaries") or {}).get("recall")
    return {
        "night": f"{night.due_at:%Y-%m-%d %H:%M}",
        "state": night.state,
        "ready": str(report.get("states", {}).get("ready", "")),
        "refused": str(sum(report.get("refusals", {}).values())) if report else "",
        "MB": f"{report.get('fetched_bytes', 0) / 1e6:.1f}",
        "seconds": f"{sum(report.get('seconds', {}).values()):.0f}",
        "canaries": "" if recall is None else f"{recall:.0%}",
    }


def _failures(counts: dict[str, Any]) -> int:
    return sum(count["failed"] for count in counts.values() if isinstance(count, dict))


def _failed_sources(night: "NightFacts") -> list[str]:
    """Return which sources failed, and why."""
    sources = night.report.get("sources", [])
    return [f"{one['source']}: {one['error']}" for one in sources if one["error"]]


def _problem(night: "NightFacts | NightAnswer") -> str:
    """What kept a night, or else the first source that failed; nothing if all went well."""
    failed = (one["error"] for one in night.report.get("sources", []) if one["error"])
    return night.error or next(failed, "")


def _problem_lines(run: "RunAnswer") -> Iterator[str]:
    """Yield what failed in a refresh, and how many more than its report keeps."""
    kept = run.counts.get("problems", [])
    if kept:
        yield f"refresh {run.id}, {run.endpoint or run.hub}:"
    for problem in kept:
        yield f"  {problem['adapter']}: {problem['message']}"
    if (more := _failures(run.counts) - len(kept)) > 0:
        yield f"  and {more:,} more"


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        stdout().print(line, markup=False, soft_wrap=True)


def _print_night(night: "NightFacts") -> None:
    print_table([_night_row(night)], "")
    if night.error:
        _print_lines([night.error])
    for base_model, lesson in night.report.get("learn", {}).items():
        if outcome := lesson.get("outcome"):
            stdout().print(f"learned of {base_model}: {outcome}", markup=False)
    for question in (night.report.get("canaries") or {}).get("lost", []):
        stdout().print(f"not found any more: {question}", markup=False)
