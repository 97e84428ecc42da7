"""What happens meanwhile, on stderr: bars, and problems as they come."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from registry.cli.output import stderr

if TYPE_CHECKING:
    from registry.refresh.pipeline import StepProgress
    from registry.refresh.step import StepOutcome

logger = logging.getLogger(__name__)

BAR_COLUMNS = (
    TextColumn("{task.description:<18}", markup=False),
    BarColumn(),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
)
# Problems shown while they happen; the run's report has more.
MOST_SHOWN = 20
# What is longer, how to convert a pickle, is told once.
LONG = 200


class Bars(Progress):
    """Bars that leave nothing where none was drawn: a failure at the start is one line."""

    def stop(self) -> None:
        if self.tasks or self.console.is_terminal:
            super().stop()
        else:
            # Without the empty line that rich ends with where there is no terminal.
            self.live.stop()


def show_outcomes(
    outcomes: "Iterable[StepOutcome]", name: str, total: int | None, tell: Callable[[str], None]
) -> Counter[str]:
    """Draw one bar on stderr, `tell` problems; return the counts of ok and failed."""
    counts = Counter(ok=0, failed=0)
    with Bars(*BAR_COLUMNS, console=stderr()) as bars:
        task = bars.add_task(name, total=total)
        for outcome in outcomes:
            counts["ok" if outcome.ok else "failed"] += 1
            bars.advance(task)
            if not outcome.ok and counts["failed"] <= MOST_SHOWN:
                tell(f"{outcome.adapter}: {outcome.message}")
    return counts


def show_refresh(steps: "Iterable[StepProgress]") -> dict[str, Counter[str]]:
    """Draw bars and problems on stderr; return the counts by step."""
    console = stderr()
    counts: dict[str, Counter[str]] = {}
    shown = 0
    first_with: dict[str, str] = {}
    with Bars(*BAR_COLUMNS, console=console) as bars:
        tasks = {}
        for progress in steps:
            name = progress.step.name
            if name not in tasks:
                tasks[name] = bars.add_task(progress.step.title, total=progress.total)
                counts[name] = Counter(ok=0, failed=0)
            bars.update(tasks[name], completed=progress.done, total=progress.total)
            outcome = progress.outcome
            if outcome is None:
                continue
            counts[name]["ok" if outcome.ok else "failed"] += 1
            if not outcome.ok:
                shown += 1
                first = first_with.setdefault(outcome.message, outcome.adapter)
                same = first != outcome.adapter and len(outcome.message) > LONG
                what = f"as {first}, above" if same else outcome.message
                _show_problem(console, shown, f"{outcome.adapter}: {what}")
    return counts


def log_refresh(steps: "Iterable[StepProgress]") -> None:
    """Log where steps begin and what goes wrong, with the number of the refresh."""
    for progress in steps:
        step, outcome = progress.step, progress.outcome
        facts = {"run_id": step.context.run_id, "step": step.name}
        if outcome is None:
            logger.info("a step begins", extra=facts | {"total": progress.total})
        elif not outcome.ok:
            logger.warning(outcome.message, extra=facts | {"adapter": outcome.adapter})


def _show_problem(console: Console, number: int, problem: str) -> None:
    if number <= MOST_SHOWN:
        console.print(escape(problem), style="yellow", soft_wrap=True)
    elif number == MOST_SHOWN + 1:
        console.print("More problems are in the run's report: autolora runs --json", style="yellow")


@contextmanager
def progress_bar(description: str) -> Iterator[Any]:
    """Give `advance(done, total)`, which draws a bar on stderr."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
    )
    console = stderr()
    # A bar that goes away again leaves only an empty line in a file.
    quiet = not console.is_terminal
    with Bars(*columns, console=console, transient=True, disable=quiet) as bars:
        task = bars.add_task(description, total=None)

        def advance(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)

        yield advance


@contextmanager
def training_bars(shown: bool) -> Iterator[Callable[[int, int, str], None]]:
    """Yield what draws a bar on stderr for each kind of work told of."""
    started = time.monotonic()
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=stderr(), disable=not shown) as bars:
        tasks = {}

        def show(done: int, total: int, what: str) -> None:
            work = what.split()[0]
            if work not in tasks:
                tasks[work] = bars.add_task(what, total=total)
            bars.update(tasks[work], completed=done, total=total, description=what)

        yield show
    if shown:
        stderr().print(f"{time.monotonic() - started:.0f} s", style="dim")
