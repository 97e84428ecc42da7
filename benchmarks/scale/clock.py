"""How long a question took, and how much of it was waiting for a processor.

Where others use the machine too, time on the clock says little. Linux counts for every process how
long it ran, and how long it was ready to run and did not; without the second it is the time that an
idle machine would have taken, but for what caches forget meanwhile.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class Taken:
    """Milliseconds: on the clock, of waiting for a processor, running here and in PostgreSQL."""

    clock: float
    waited: float
    here: float
    there: float


def measure(connection: Connection, ask: Callable[[], object]) -> Taken:
    """Ask something of the PostgreSQL process behind `connection`, from this thread."""
    raw = connection.connection.driver_connection
    assert raw is not None
    processes = (os.getpid(), raw.info.backend_pid)
    before = [_scheduled(process) for process in processes]
    started = time.perf_counter()
    ask()
    clock = time.perf_counter() - started
    after = [_scheduled(process) for process in processes]
    (here, here_waited), (there, there_waited) = (
        (ran - ran_before, waited - waited_before)
        for (ran, waited), (ran_before, waited_before) in zip(after, before, strict=True)
    )
    return Taken(1e3 * clock, (here_waited + there_waited) / 1e6, here / 1e6, there / 1e6)


def _scheduled(process: int) -> tuple[int, int]:
    """Return the nanoseconds that a process has run, and been ready without running [1].

    - [1] https://docs.kernel.org/scheduler/sched-stats.html
    """
    ran, waited, _ = Path(f"/proc/{process}/schedstat").read_text().split()
    return int(ran), int(waited)
