"""Measure how many searches a second the server answers, what each costs, and what SQL has of it.

    python -m benchmarks.serving --home demo/out/home --processes 2

`make demo ARGS=--once` makes that home. Clients ask without a pause and take cores from the server;
processor time is counted apart for the server, PostgreSQL and them. Beside it the same statements
are run by psycopg alone, in turns with the server: what is longer there is what the server adds.
"""

import argparse
import http.client
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit

import numpy as np
import psutil
import psycopg
from psycopg.conninfo import make_conninfo
from sqlalchemy import event

from benchmarks.results import RESULTS, write_results
from benchmarks.tables import table
from registry.config import Settings
from registry.db.embedded import EmbeddedPostgres
from registry.retrieval.statements import BEGIN, COMMIT
from registry.service import Registry
from registry.text.cached_encoder import CAPACITY

WORDS = ("fox", "neon", "red heart", "black line art", "gold icons", "猫", "a mouse face", "food")
# More than a server remembers texts of, in turn: each is new to it.
QUESTIONS = tuple(f"{WORDS[number % len(WORDS)]} {number}" for number in range(CAPACITY + 64))
# Statements of so many are run by themselves, again and again: PostgreSQL keeps no answers. Asked
# of the server in turn, it remembers their texts, as of examples, pages and filters.
RECORDED = QUESTIONS[:128]
ASKED = {"new": QUESTIONS, "met before": RECORDED}
# Server and SQL take turns, for both to meet the same neighbours.
TURNS = 4

Statement = tuple[str, Mapping[str, Any]]
# Answers a question, in a thread of its own: given its number.
Ask = Callable[[int], None]


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
    """Return the processor time of a process and of all that it has started, ended ones too."""
    ended = first.cpu_times()
    spent = float(ended.children_user + ended.children_system)
    for process in [first, *first.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        spent += times.user + times.system
    return spent


def record(home: Path) -> list[list[Statement]]:
    """Return the statements by which each question is answered, from the first of a transaction."""
    asked: list[list[Statement]] = []

    class Recorded(psycopg.Cursor[Any]):
        def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
            # Who replays them begins and ends a transaction as psycopg does.
            if asked and query not in (BEGIN, COMMIT):
                asked[-1].append((query, params))
            return super().execute(query, params, **options)

    with Registry(Settings(home=home.absolute())) as registry:

        @event.listens_for(registry.sessions.kw["bind"], "checkout")
        def note(connection: psycopg.Connection[Any], *_: object) -> None:
            connection.cursor_factory = Recorded

        # Once before, for what is asked of a database only now and then.
        registry.search(QUESTIONS[0])
        for question in RECORDED:
            asked.append([])
            registry.search(question)
    return asked


@contextmanager
def by_server(url: str, questions: Sequence[str]) -> Iterator[Ask]:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)

    def ask(number: int) -> None:
        question = questions[number % len(questions)]
        connection.request("GET", f"/v1/search?q={quote(question)}")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == http.HTTPStatus.OK

    yield ask
    connection.close()


@contextmanager
def by_sql(address: str, asked: Sequence[Sequence[Statement]]) -> Iterator[Ask]:
    with psycopg.connect(address) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ

        def ask(number: int) -> None:
            for statement, values in asked[number % len(asked)]:
                connection.execute(statement, values).fetchall()
            connection.commit()

        yield ask


def ask(
    opened: Callable[[], Any], clients: int, seconds: float, numbers: "itertools.count[int]"
) -> list[float]:
    """Return what every answer took, in milliseconds."""

    def one_client(_: int) -> list[float]:
        taken = []
        with opened() as answer:
            # Connections are made and statements prepared before.
            for _ in range(8):
                answer(next(numbers))
            ending = time.monotonic() + seconds
            while time.monotonic() < ending:
                began = time.monotonic()
                answer(next(numbers))
                taken.append(1000 * (time.monotonic() - began))
        return taken

    with ThreadPoolExecutor(clients) as threads:
        return [one for taken in threads.map(one_client, range(clients)) for one in taken]


def run(
    home: Path,
    processes: int,
    clients: int,
    seconds: float,
    texts: str,
    asked: Sequence[Sequence[Statement]],
) -> dict[str, Any]:
    with serving(home, processes) as (url, first):
        database, here = postmaster(home), psutil.Process()
        address = make_conninfo(**EmbeddedPostgres(home.absolute() / "postgres").address())
        numbers = itertools.count()
        questions = ASKED[texts]
        # Every process loads its encoder and prepares its statements.
        ask(lambda: by_server(url, questions), clients, 5, numbers)
        spent = {"server": 0.0, "postgres": 0.0, "clients": 0.0}
        served: list[float] = []
        plain: list[float] = []
        for _ in range(TURNS):
            before = cpu_seconds(first), cpu_seconds(database), _own_seconds(here)
            served += ask(lambda: by_server(url, questions), clients, seconds / TURNS, numbers)
            after = cpu_seconds(first), cpu_seconds(database), _own_seconds(here)
            for name, was, now in zip(spent, before, after, strict=True):
                spent[name] += now - was
            plain += ask(lambda: by_sql(address, asked), clients, seconds / TURNS, numbers)
    row: dict[str, Any] = {"processes": processes, "clients": clients, "texts": texts}
    for name, taken in (("served", served), ("plain", plain)):
        row[f"{name}_a_second"] = len(taken) / seconds
        row[f"{name}_p50"] = float(np.median(taken))
        row[f"{name}_p99"] = float(np.quantile(taken, 0.99))
    searches = len(served) + TURNS * clients * 8
    return row | {f"{name}_ms": 1000 * took / searches for name, took in spent.items()}


def _own_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def to_markdown(rows: list[dict[str, Any]]) -> str:
    head = ["processes", "clients", "texts", "searches a second", "p50 ms", "p99 ms"]
    head += ["server CPU ms", "PostgreSQL CPU ms", "clients CPU ms"]
    head += ["SQL alone a second", "p50 ms", "p99 ms", "added at p50, ms"]
    return table(head, map(_shown, rows))


def _shown(row: dict[str, Any]) -> list[str]:
    served = ("served_a_second", "served_p50", "served_p99")
    spent = ("server_ms", "postgres_ms", "clients_ms")
    plain = ("plain_a_second", "plain_p50", "plain_p99")
    added = row["served_p50"] - row["plain_p50"]
    return [
        str(row["processes"]),
        str(row["clients"]),
        row["texts"],
        *(f"{row[key]:.0f}" for key in served),
        *(f"{row[key]:.1f}" for key in spent),
        *(f"{row[key]:.0f}" for key in plain),
        f"{added:.1f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, required=True, help="A registry with adapters")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--texts", nargs="+", choices=list(ASKED), default=list(ASKED))
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--output", type=Path, default=RESULTS / "serving.json")
    options = parser.parse_args()
    asked = record(options.home)
    rows = [
        run(options.home, processes, clients, options.seconds, texts, asked)
        for processes in options.processes
        for clients in options.clients
        for texts in options.texts
    ]
    write_results(options.output, rows, to_markdown(rows))


if __name__ == "__main__":
    main()
