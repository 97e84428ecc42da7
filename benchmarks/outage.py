"""Measure what searches answer while the embedded PostgreSQL is killed under a server.

    python -m benchmarks.outage --home demo/out/home --seconds 600 --kills 2

`make demo ARGS=--once` makes that home. Every answer is compared with the one of a quiet server:
another one is wrong. An error is excused from a kill until the first answer after it.
"""

import argparse
import itertools
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.results import RESULTS, write_results
from benchmarks.serving import WORDS, serving
from benchmarks.tables import table

# Of a list, that have to be the same.
COMPARED = 10
# What a client waits for after an error, as polite ones do.
REST_SECONDS = 0.2


@dataclass
class Told:
    """What clients were told: (when, seconds) of answers, when of errors, and what was wrong."""

    answers: list[tuple[float, float]] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def ids(answer: dict[str, Any]) -> list[int]:
    return [result["adapter"]["id"] for result in answer["results"][:COMPARED]]


def expected(url: str) -> dict[str, list[int]]:
    with httpx.Client(timeout=60) as client:
        answers = {word: client.get(f"{url}/v1/search", params={"q": word}) for word in WORDS}
    return {word: ids(answer.raise_for_status().json()) for word, answer in answers.items()}


def ask(
    url: str, right: dict[str, list[int]], ending: float, numbers: "itertools.count[int]"
) -> Told:
    """Ask until it is over, one question after the other."""
    told = Told()
    with httpx.Client(timeout=60) as client:
        while time.monotonic() < ending:
            word, began = WORDS[next(numbers) % len(WORDS)], time.monotonic()
            try:
                answer = client.get(f"{url}/v1/search", params={"q": word}).raise_for_status()
                got = ids(answer.json())
            except (httpx.HTTPError, ValueError, KeyError):
                told.errors.append(time.monotonic())
                time.sleep(REST_SECONDS)
                continue
            told.answers.append((time.monotonic(), time.monotonic() - began))
            if got != right[word]:
                told.wrong.append(f"{word}: {got} for {right[word]}")
    return told


def kill_database(home: Path, stopped: threading.Event, seconds: float, kills: int) -> list[float]:
    """Kill the postmaster so many times, evenly; return when."""
    times = []
    for _ in range(kills):
        if stopped.wait(seconds / (kills + 1)):
            break
        pid = int((home / "postgres" / "postmaster.pid").read_text().split()[0])
        times.append(time.monotonic())
        os.kill(pid, signal.SIGKILL)
    return times


def run(home: Path, processes: int, clients: int, seconds: float, kills: int) -> dict[str, Any]:
    with serving(home, processes) as (url, _), ThreadPoolExecutor(clients + 1) as threads:
        right = expected(url)
        numbers, began, stopped = itertools.count(), time.monotonic(), threading.Event()
        killer = threads.submit(kill_database, home, stopped, seconds, kills)
        asking = [threads.submit(ask, url, right, began + seconds, numbers) for _ in range(clients)]
        parts = [one.result() for one in asking]
        stopped.set()
        killed = killer.result()
    answers = sorted(one for part in parts for one in part.answers)
    errors = sorted(one for part in parts for one in part.errors)
    # Asked after a kill, answered after it: the database is there again.
    outages = [
        (at, next((when for when, took in answers if when - took > at), began + seconds))
        for at in killed
    ]
    taken = [1000 * took for _, took in answers]
    return {
        "processes": processes,
        "clients": clients,
        "seconds": round(seconds),
        "answers": len(answers),
        "wrong": sum(len(part.wrong) for part in parts),
        "first_wrong": next((line for part in parts for line in part.wrong), None),
        "kills": len(killed),
        "errors": len(errors),
        "unexcused": sum(not any(low <= at <= high + 1 for low, high in outages) for at in errors),
        "down": [round(high - low, 2) for low, high in outages],
        "a_second": round(len(answers) / seconds, 1),
        "p50": round(float(np.median(taken)), 1),
        "p99": round(float(np.quantile(taken, 0.99)), 1),
    }


def to_markdown(row: dict[str, Any]) -> str:
    head = ["clients", "minutes", "answers", "wrong", "kills", "down, s", "errors", "not excused"]
    head += ["searches a second", "p50 ms", "p99 ms"]
    cells = [row["clients"], f"{row['seconds'] / 60:.0f}", row["answers"], row["wrong"]]
    cells += [row["kills"], " and ".join(map(str, row["down"])), row["errors"], row["unexcused"]]
    cells += [row["a_second"], row["p50"], row["p99"]]
    return table(head, [list(map(str, cells))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, required=True, help="A registry with adapters")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--output", type=Path, default=RESULTS / "outage.json")
    options = parser.parse_args()
    row = run(options.home, options.processes, options.clients, options.seconds, options.kills)
    write_results(options.output, row, to_markdown(row))


if __name__ == "__main__":
    main()
