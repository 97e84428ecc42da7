"""Measure how many searches a second the server answers, and what each costs.

    python -m benchmarks.serving --home demo/out/home --processes 2

`make demo ARGS=--once` makes that home. Clients ask without a pause, each question its own, and
take cores from the server; processor time is counted apart for the server and for PostgreSQL.
"""

import argparse
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from benchmarks.results import RESULTS, write_results
from benchmarks.tables import table

WORDS = ("fox", "neon", "red heart", "black line art", "gold icons", "猫", "a mouse face", "food")


@contextmanager
def serving(home: Path, processes: int) -> Iterator[tuple[str, psutil.Process]]:
    """Run `autolora serve` on a free port; give its address and its first process."""
    with subprocess.Popen(
        [sys.executable, "-m", "registry", "serve", "--port", "0", "--processes", str(processes)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"REGISTRY_HOME": str(home.absolute())},
    ) as server:
        assert server.stderr is not None
        yield server.stderr.readline().split()[2], psutil.Process(server.pid)
        server.terminate()
        server.wait(60)


def postmaster(home: Path) -> psutil.Process:
    """Return the first process of a home's embedded PostgreSQL, which is no child of ours."""
    return psutil.Process(int((home / "postgres" / "postmaster.pid").read_text().split()[0]))


def cpu_seconds(first: psutil.Process) -> float:
    """Return the processor time of a process and of all that it has started."""
    spent = 0.0
    for process in [first, *first.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        spent += times.user + times.system
    return spent


def ask(url: str, clients: int, seconds: float) -> list[float]:
    """Return what every search took, in milliseconds."""
    numbers, ending = itertools.count(), time.monotonic() + seconds

    def one_client(_: int) -> list[float]:
        taken = []
        with httpx.Client(timeout=60) as client:
            while time.monotonic() < ending:
                number = next(numbers)
                text = f"{WORDS[number % len(WORDS)]} {number}"
                began = time.monotonic()
                client.get(f"{url}/v1/search", params={"q": text}).raise_for_status()
                taken.append(1000 * (time.monotonic() - began))
        return taken

    with ThreadPoolExecutor(clients) as threads:
        return [one for taken in threads.map(one_client, range(clients)) for one in taken]


def run(home: Path, processes: int, clients: int, seconds: float) -> dict[str, Any]:
    with serving(home, processes) as (url, first):
        # Every process loads its encoder and prepares its statements.
        ask(url, clients, 5)
        before, began = cpu_seconds(first), time.monotonic()
        taken = ask(url, clients, seconds)
        elapsed = time.monotonic() - began
        here, there = (after - was for after, was in zip(cpu_seconds(first), before, strict=True))
    return {
        "processes": processes,
        "clients": clients,
        "searches": len(taken),
        "a_second": len(taken) / elapsed,
        "p50": float(np.median(taken)),
        "p99": float(np.quantile(taken, 0.99)),
        "server_ms": 1000 * here / len(taken),
        "postgres_ms": 1000 * there / len(taken),
    }


def to_markdown(rows: list[dict[str, Any]]) -> str:
    head = ["processes", "clients", "searches a second", "p50 ms", "p99 ms"]
    head += ["server CPU ms", "PostgreSQL CPU ms"]
    return table(head, ([f"{value:.0f}" for value in _shown(row)] for row in rows))


def _shown(row: dict[str, Any]) -> list[float]:
    keys = ("processes", "clients", "a_second", "p50", "p99", "server_ms", "postgres_ms")
    return [row[key] for key in keys]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, required=True, help="A registry with adapters")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--output", type=Path, default=RESULTS / "serving.json")
    options = parser.parse_args()
    rows = [
        run(options.home, processes, clients, options.seconds)
        for processes in options.processes
        for clients in options.clients
    ]
    write_results(options.output, rows, to_markdown(rows))


if __name__ == "__main__":
    main()
