"""One bad night of a home: what runs is killed, the hub misbehaves, the disk fills up."""

import os
import random
import socket
import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx

from benchmarks.chaos.counts import VICTIMS, Counts
from benchmarks.chaos.hub import GrowingHub
from benchmarks.chaos.outages import Outages
from benchmarks.chaos.processes import Command, Postgres, environment
from benchmarks.chaos.searches import Answer, Searcher, answers, open_client
from benchmarks.chaos.small_disk import SmallDisk
from benchmarks.chaos.state import State, count_problems, read_state
from demo.paths import DATA
from registry.refresh.pipeline import STEPS

CHECKPOINT = DATA / "encoder.safetensors"
# How often each victim is drawn.
CHANCES = {"refresh": 10, "server": 4, "PostgreSQL": 6, "worker": 8}
MOST_NEW = 12
FULL_SHARE, OVERLAP_SHARE, DISK_SHARE = 0.3, 0.25, 0.12
# How long the shorter steps take.
STEP_SECONDS = 0.5
# Longer than a refresh waits for another one.
PAUSE_SECONDS = 9.0
# What is left of the disk: nothing, too little for PostgreSQL's log, or only the reserve.
LEFT_BYTES = (0, 2**22, 2**25)
# Whatever takes longer does not come at all.
PATIENCE_SECONDS = 240.0
WEEK_SECONDS = 8 * 86_400


@dataclass
class Place:
    """Where a night happens: a home, and a folder for what its processes say."""

    home: Path
    logs: Path
    disk: SmallDisk | None = None


class Night:
    """Runs the commands over one home. Every event is counted."""

    def __init__(
        self, place: Place, hub: GrowingHub, counts: Counts, numbers: random.Random, span: float
    ) -> None:
        """`span`: the longest wait for the next kill, in seconds."""
        self._place, self._hub, self._counts = place, hub, counts
        self._numbers, self._span = numbers, span
        self._environment = environment(place.home, hub.endpoint, CHECKPOINT)
        self._postgres = Postgres(place.home / "postgres")
        self._outages = Outages()
        self.port = free_port()
        self._client = open_client(self.port)
        self._server: Command | None = None
        self._refreshes: list[Command] = []
        self._workers: list[Command] = []
        # Who may be killed, and how many workers are to run.
        self.victims: tuple[str, ...] = VICTIMS
        self.workers_wanted = 0
        # How many adapters and drafts appear before a refresh, at most.
        self.most_new = MOST_NEW
        self._started = 0
        self._disk_clears = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing running, however it ends."""
        for command in (self._server, *self._refreshes, *self._workers):
            if command is not None:
                command.kill()
        self._client.close()

    # The undisturbed run

    def refresh(self, *, full: bool = False) -> float:
        """Run a refresh to its end, which should be a good one; return its seconds."""
        command = self._start("refresh", *(["--full"] if full else []))
        code = command.wait(PATIENCE_SECONDS)
        if code is None:
            command.kill()
        if code != 0:
            what = command.last_line() or command.said()[-300:]
            self._counts.differ(f"a refresh of a healthy world ended with {code}: {what}")
        return time.monotonic() - command.started

    def serve_and_ask(self, questions: list[str]) -> dict[str, Answer]:
        """Return the answers of a server that is well, then stop it."""
        self._keep_server()
        self._wait_until_up()
        found = answers(self.port, questions)
        self._stop_server()
        return found

    def state(self) -> State:
        return read_state(self._place.home)

    def problems(self) -> Counter[str]:
        return count_problems(self._place.home)

    # The bad night

    def storm(
        self, kills: int, until: float, expected: Mapping[str, Answer], files: Collection[str]
    ) -> None:
        """Let `kills` happen, or as many as there are until a moment of the monotonic clock."""
        numbers = random.Random(self._numbers.random())
        searcher = Searcher(self.port, expected, files, self._outages, self._counts, numbers)
        with searcher:
            done = 0
            while done < kills and time.monotonic() < until:
                self._live_for_a_while()
                done += self._kill_one()
            self._calm_down()

    def heal(self) -> None:
        """Do what an operator does the morning after: an ordinary refresh, and a full one."""
        self.refresh()
        # What nobody goes on with is removed after a week.
        for folder in (self._place.home / "downloads").glob("*/"):
            os.utime(folder, (time.time() - WEEK_SECONDS,) * 2)
        self.refresh(full=True)

    def _calm_down(self) -> None:
        """Let all that runs end, and everything be healthy again."""
        self._clear_disk()
        self._hub.be_well()
        self._hub.grow()
        end = time.monotonic() + PATIENCE_SECONDS
        while self._refreshes and time.monotonic() < end:
            self._tend_refreshes()
            self._keep_server()
            self._watch()
            time.sleep(0.1)
        for command in self._refreshes:
            self._counts.differ(f"{command.words} did not end: {command.said()[-300:]}")
            command.kill()
        self._refreshes.clear()
        self._stop_workers()
        self._wait_until_up()

    def _live_for_a_while(self) -> None:
        """Come to the moment of the next kill: any, or one in any of the steps.

        Some steps are short, and no moment drawn from time would be in them.
        """
        if self._numbers.random() < 0.5:
            self._live(self._numbers.uniform(0, self._span))
        else:
            self._live(self._span, until=self._numbers.choice(STEPS).name)
            self._live(self._numbers.uniform(0, STEP_SECONDS))

    def _live(self, seconds: float, until: str = "") -> None:
        """Keep everything running for so long, or until a refresh is at a step."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if until in [command.moment() for command in self._refreshes]:
                return
            self._keep_server()
            self._keep_workers()
            self._keep_refreshes()
            self._watch()
            time.sleep(0.1)

    # Kills

    def _kill_one(self) -> bool:
        moment = self._refreshes[0].moment() if self._refreshes else "none runs"
        if moment == "publish" and self._refreshes[0].code is not None:
            moment = "ending"
        [victim] = self._numbers.choices(self.victims, [CHANCES[name] for name in self.victims])
        if victim == "PostgreSQL":
            killed = self._kill_postgres()
        elif victim == "server":
            killed = self._kill_server()
        elif victim == "worker":
            killed = self._kill_worker()
        else:
            running = [command for command in self._refreshes if command.code is None]
            killed = bool(running)
            if running:
                chosen = self._numbers.choice(running)
                moment = chosen.moment()
                chosen.kill()
        self._counts.kills[victim, moment] += killed
        return killed

    def _kill_postgres(self) -> bool:
        if not self._postgres.is_there():
            return False
        self._outages.begin("PostgreSQL")
        return self._postgres.kill(self._numbers)

    def _kill_server(self) -> bool:
        if self._server is None or self._server.code is not None:
            return False
        if not self._outages.is_down("server"):
            self._outages.begin("server")
        self._server.kill()
        self._server = None
        return True

    def _kill_worker(self) -> bool:
        """Kill one that has begun to work: before, it has nothing that could be lost."""
        working = [worker for worker in self._workers if worker.is_working()]
        if not working:
            return False
        chosen = self._numbers.choice(working)
        chosen.kill()
        self._workers.remove(chosen)
        return True

    # Workers

    def _keep_workers(self) -> None:
        for worker in list(self._workers):
            if worker.code is not None:
                self._workers.remove(worker)
                self._note_worker_end(worker)
        while len(self._workers) < self.workers_wanted:
            self._workers.append(self._start("worker"))

    def _note_worker_end(self, worker: Command) -> None:
        down = self._outages.overlap(worker.started, time.monotonic()) - {"server"}
        if "Traceback" in worker.said() or not down:
            what = worker.last_line() or worker.said()[-300:]
            self._counts.differ(f"a worker ended with {worker.code}: {what}")
        self._counts.endings["a worker without its database or disk"] += 1

    def _stop_workers(self) -> None:
        for worker in self._workers:
            code = worker.stop(PATIENCE_SECONDS) if worker.is_working() else 0
            worker.kill()
            if code != 0 or "Traceback" in worker.said():
                what = worker.last_line() or worker.said()[-300:]
                self._counts.differ(f"a worker was asked to stop and ended with {code}: {what}")
        self._workers.clear()

    # The server

    def _keep_server(self) -> None:
        if self._server is not None and self._server.code is not None:
            self._note_server_end(self._server)
            self._server = None
        if self._server is None:
            if not self._outages.is_down("server"):
                self._outages.begin("server")
            self._server = self._start("serve", "--port", str(self.port))

    def _note_server_end(self, server: Command) -> None:
        down = self._outages.overlap(server.started, time.monotonic()) - {"server"}
        ending = server.ending()
        if ending in (None, "done", "the hub failed") or not down:
            what = server.last_line() or server.said()[-300:]
            self._counts.differ(f"the server ended with {server.code}: {what}")
        else:
            self._counts.endings[f"server did not start: {ending}"] += 1

    def _stop_server(self) -> None:
        assert self._server is not None
        code = self._server.stop(PATIENCE_SECONDS)
        if code != 0:
            self._counts.differ(f"the server was asked to stop and ended with {code}")
        if self._postgres.is_there():
            self._counts.differ("PostgreSQL runs on after its last user has ended")
        self._server = None

    def _wait_until_up(self) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            self._keep_server()
            self._watch()
            if not any(map(self._outages.is_down, ("server", "PostgreSQL", "disk"))):
                return
            time.sleep(0.1)
        self._counts.differ(f"not everything came up in {PATIENCE_SECONDS:.0f} s")

    def _watch(self) -> None:
        """Note what is up again, and empty the disk when it is time."""
        if self._outages.is_down("server") and self._is_serving():
            self._outages.end("server")
        if self._outages.is_down("PostgreSQL") and self._postgres.answers():
            self._outages.end("PostgreSQL")
        disk = self._place.disk
        if disk is not None and disk.is_full and time.monotonic() > self._disk_clears:
            disk.clear()
        if disk is None or disk.is_full or not self._outages.is_down("disk"):
            return
        if self._postgres.answers():
            self._outages.end("disk")

    def _is_serving(self) -> bool:
        try:
            return self._client.get("/healthz", timeout=5).is_success
        except httpx.HTTPError:
            return False

    # Refreshes

    def _keep_refreshes(self) -> None:
        self._tend_refreshes()
        if not self._refreshes:
            self._fill_disk_now_and_then()
            self._hub.grow(self._numbers.randint(0, self.most_new))
            full = self._numbers.random() < FULL_SHARE
            self._hub.be_unwell(self._numbers, full=full)
            self._start_refresh(full)
            if self._numbers.random() < OVERLAP_SHARE:
                self._start_refresh(self._numbers.random() < FULL_SHARE)
        elif len(self._refreshes) > 1:
            self._pause_one()

    def _start_refresh(self, full: bool) -> None:
        self._refreshes.append(self._start("refresh", *(["--full"] if full else [])))

    def _pause_one(self) -> None:
        """Stop the one that is at it, so that the other comes while it is."""
        for command in self._refreshes:
            if command.pauses == 0 and command.moment() != "starting":
                command.pause(PAUSE_SECONDS)
                self._counts.endings["(paused meanwhile)"] += 1

    def _tend_refreshes(self) -> None:
        for command in list(self._refreshes):
            command.go_on_if_due()
            if command.code is not None:
                self._refreshes.remove(command)
                self._note_refresh_end(command)

    def _note_refresh_end(self, command: Command) -> None:
        ending = command.ending()
        down = self._outages.overlap(command.started, time.monotonic())
        lost = ending in ("database lost", "disk full", "no room for PostgreSQL")
        if ending is None or (lost and not down & {"PostgreSQL", "disk"}):
            what = command.last_line() or command.said()[-500:]
            self._counts.differ(f"a refresh ended with {command.code}: {what}")
        self._counts.endings[ending or "as it should not"] += 1

    # The disk

    def _fill_disk_now_and_then(self) -> None:
        disk = self._place.disk
        if disk is None or disk.is_full or self._numbers.random() >= DISK_SHARE:
            return
        left = self._numbers.choice(LEFT_BYTES)
        self._counts.disk[f"filled up to {left // 2**20} MB"] += 1
        if not self._outages.is_down("disk"):
            self._outages.begin("disk")
        self._disk_clears = time.monotonic() + self._numbers.uniform(4, 12)
        disk.fill(left)

    def _clear_disk(self) -> None:
        if self._place.disk is not None:
            self._place.disk.clear()

    def _start(self, *words: str) -> Command:
        self._started += 1
        log = self._place.logs / f"{self._started:03}-{words[0]}.log"
        return Command(list(words), self._environment, log)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
