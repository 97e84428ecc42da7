"""What a command takes from the shell's side: time by the clock, and of the processor.

    . demo/out/env && python -m benchmarks.command_line

On the registry that the settings name, which has to be indexed. All are run in turn, and the least
of what each took counts: other work on the machine only ever adds to it. Python keeps what it has
compiled, as it does wherever it is not forbidden to: each command has run once before.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from registry.config import Settings
from registry.running import find_server

TIMES = 5
START_SECONDS = 60
AUTOLORA = (sys.executable, "-m", "registry")
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
}
QUERY = "black line art of musical instruments"
COMMANDS = {
    "`--version`": ["--version"],
    "`--help`": ["--help"],
    "`search`, through a server": ["search", QUERY],
    "`list`, through a server": ["list"],
    "`status`, through a server": ["status"],
    "`--local search`, with PostgreSQL running": ["--local", "search", QUERY],
}


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds that one run took by the clock, and of the processor with those it waited for."""

    clock: float
    processor: float


def measure(words: list[str]) -> Cost:
    started = time.perf_counter()
    process = subprocess.Popen(
        [*AUTOLORA, *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(said.decode())
    return Cost(time.perf_counter() - started, used.ru_utime + used.ru_stime)


@contextmanager
def serving() -> Iterator[None]:
    """Run a server on the home, unless one does."""
    home = Settings().home
    if find_server(home) is not None:
        yield
        return
    with subprocess.Popen([*AUTOLORA, "serve", "--port", "0"], stderr=subprocess.DEVNULL) as server:
        try:
            deadline = time.monotonic() + START_SECONDS
            while find_server(home) is None:
                if server.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("no server starts on the registry's home")
                time.sleep(0.1)
            yield
        finally:
            server.terminate()


def main() -> None:
    costs: dict[str, list[Cost]] = {name: [] for name in COMMANDS}
    with serving():
        # Python compiles what each needs, and a server's first search loads what it answers with.
        for words in COMMANDS.values():
            measure(words)
        for _ in range(TIMES):
            for name, words in COMMANDS.items():
                costs[name].append(measure(words))
    print("| autolora | by the clock | of the processor |\n|---|---|---|")
    for name, taken in costs.items():
        clock, processor = (
            min(getattr(cost, of) for cost in taken) for of in ("clock", "processor")
        )
        print(f"| {name} | {clock:.2f} s | {processor:.2f} s |")


if __name__ == "__main__":
    main()
