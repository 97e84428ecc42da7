"""The processes that are killed: a refresh, a worker, the server, PostgreSQL."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

from registry.db.embedded import EmbeddedPostgres
from registry.refresh.pipeline import STEPS

REPOSITORY = Path(__file__).parents[2]
# How a refresh may end, by what it says last on stderr.
ENDINGS = {
    "another process is refreshing": "another refresh was at it: did nothing",
    "database connection was lost": "database lost",
    "cannot be reached": "database lost",
    "PostgreSQL cannot start: the disk": "no room for PostgreSQL",
    "no space left": "disk full",
    "No space left": "disk full",
}
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def environment(home: Path, endpoint: str, checkpoint: Path) -> dict[str, str]:
    """What the commands get to know; nothing of this machine's own settings."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
    return own | {
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": "1",
        # Bars are drawn into files too, which tells us the step.
        "FORCE_COLOR": "1",
        "REGISTRY_HOME": str(home),
        "REGISTRY_MODELSCOPE_ENDPOINT": endpoint,
        "REGISTRY_ENCODER_CHECKPOINT": str(checkpoint),
    }


class Command:
    """One run of `autolora`, its words in the file `log`."""

    def __init__(self, words: list[str], env: Mapping[str, str], log: Path) -> None:
        self.words, self.log = words, log
        self.started = time.monotonic()
        self.was_killed = False
        # When a stopped process goes on; None where it runs.
        self.paused_until: float | None = None
        self.pauses = 0
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "registry", *words],
                env=dict(env),
                # A folder without `.env`.
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=file,
            )

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.poll()

    def kill(self) -> None:
        self.was_killed = True
        self._process.kill()
        self._process.wait()

    def stop(self, seconds: float) -> int | None:
        """Ask it to end; return its exit code, None when it did not in time."""
        self._process.terminate()
        return self.wait(seconds)

    def wait(self, seconds: float) -> int | None:
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def pause(self, seconds: float) -> None:
        self.pauses += 1
        self.paused_until = time.monotonic() + seconds
        self._process.send_signal(signal.SIGSTOP)

    def go_on_if_due(self) -> None:
        if self.paused_until is not None and time.monotonic() > self.paused_until:
            self.paused_until = None
            self._process.send_signal(signal.SIGCONT)

    def said(self) -> str:
        return _ESCAPES.sub("", self.log.read_text(errors="replace"))

    def last_line(self) -> str:
        """What it says last, bars left out."""
        lines = [line for line in self.said().splitlines() if line.startswith("autolora: ")]
        return lines[-1] if lines else ""

    def is_working(self) -> bool:
        """Whether a worker runs and takes tasks."""
        return self.code is None and "Working on" in self.said()

    def moment(self) -> str:
        """The step that a refresh is at."""
        said = self.log.read_text(errors="replace")
        shown = [step.name for step in STEPS if step.title in said]
        return shown[-1] if shown else "starting"

    def ending(self) -> str | None:
        """How a refresh ended, in few words; None where it should not have ended so."""
        if self.was_killed:
            return "killed"
        said = self.last_line()
        if "Traceback" in self.said() or self.code not in (0, 1):
            return None
        known = [ending for words, ending in ENDINGS.items() if words in said]
        if known:
            return known[0]
        if self.code == 0:
            return "done"
        # The hub's failure is a problem among others; there is no last line of its own.
        return None if said else "the hub failed"


class Postgres:
    """The embedded server of a home, which its users start when they need it."""

    def __init__(self, data: Path) -> None:
        self._server = EmbeddedPostgres(data)

    def answers(self) -> bool:
        if not self._server.data.exists():
            return False
        return PGconn.ping(make_conninfo(**self._server.address()).encode()) == Ping.OK

    def is_there(self) -> bool:
        return self._postmaster() is not None

    def kill(self, numbers: random.Random) -> bool:
        """Kill it, or all of its processes, or one of them; whether there was any."""
        postmaster = self._postmaster()
        if postmaster is None:
            return False
        try:
            children = postmaster.children(recursive=True)
            way = numbers.choice(("alone", "all", "one"))
            if way == "one" and children:
                numbers.choice(children).kill()
                return True
            postmaster.kill()
            if way == "all":
                for child in children:
                    child.kill()
        except psutil.NoSuchProcess:
            # It ended meanwhile, or one of its children did.
            return not psutil.pid_exists(postmaster.pid)
        return True

    def _postmaster(self) -> psutil.Process | None:
        data = self._server.data
        try:
            process = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
            return process if process.cwd() == str(data.resolve()) else None
        except (FileNotFoundError, IndexError, ValueError, psutil.NoSuchProcess):
            return None
