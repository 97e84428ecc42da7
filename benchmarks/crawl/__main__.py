"""Crawls of hubs on loopback: beside curl, in adapters a second, in memory, and in bytes.

    python -m benchmarks.crawl
    python -m benchmarks.crawl --small     to see that it works, in a minute

docs/benchmarks/crawling.md has the figures. The hub is a process of its own, on the same cores.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.crawl.measures import (
    Figures,
    adapters_a_second,
    beside_curl,
    bytes_of_headers,
    memory_of_listing,
)
from benchmarks.results import RESULTS, write_results
from benchmarks.tables import table
from registry.cli.loading import load_less


def measure(folder: Path, *, small: bool) -> dict[str, Figures]:
    # First, while the process has little else.
    memory = memory_of_listing(folder / "memory", 2000 if small else 20_000)
    return {
        "memory": memory,
        "curl": beside_curl(folder / "curl", 8 if small else 40, 4, 1 if small else 3),
        "rate": adapters_a_second(folder / "rate", 200 if small else 1000),
        "headers": bytes_of_headers(folder / "headers", 1 if small else 3, 4),
    }


def to_markdown(told: dict[str, Figures]) -> str:
    memory, curl, rate, headers = (told[key] for key in ("memory", "curl", "rate", "headers"))
    steps = ", ".join(f"{name} {seconds:.1f}" for name, seconds in rate["seconds"].items())
    grown = (memory["most"] - memory["first"]) / 1e6
    rows = [
        [
            "listing and downloading beside curl fetching the same bytes",
            f"{curl['files']} files, {curl['bytes'] / 1e6:.0f} MB",
            f"{curl['crawl_mb_s']:.0f} MB/s, curl {curl['curl_mb_s']:.0f}: {curl['ratio']:.2f} "
            f"({curl['crawl_cpu']:.1f} s of a processor)",
            "≥ 0.6",
        ],
        [
            "small adapters through all steps but captions",
            f"{rate['adapters']} adapters with covers; seconds: {steps}",
            f"{rate['a_second']:.0f} a second",
            "≥ 50",
        ],
        [
            "memory while listing",
            f"from 1,000 to {memory['listed']:,} adapters",
            f"{grown:+.0f} MB, {memory['most'] / 1e6:.0f} at most",
            "± 50",
        ],
        [
            "bytes of files that are unwanted or known",
            f"{headers['files']} files, {headers['bytes'] / 1e6:.0f} MB, nine in ten such",
            f"{headers['share_of_others']:.1%} of theirs, {headers['share_of_all']:.1%} of all "
            "with the wanted tenth",
            "≤ 10 %",
        ],
    ]
    return table(["what", "of", "figure", "aim"], rows)


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a tenth of everything")
    parser.add_argument("--out", type=Path, default=RESULTS / "crawling.json")
    arguments = parser.parse_args()
    # As `autolora refresh` does; numpy takes its threads when it is loaded, which is long ago.
    if os.environ.get("OPENBLAS_NUM_THREADS") is None:
        command = [sys.executable, "-m", "benchmarks.crawl", *sys.argv[1:]]
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
        raise SystemExit(subprocess.run(command, env=environment, check=False).returncode)
    load_less()
    with TemporaryDirectory(prefix="autolora-crawl-") as folder:
        told = measure(Path(folder), small=arguments.small)
    write_results(arguments.out, told, to_markdown(told))


if __name__ == "__main__":
    main()
