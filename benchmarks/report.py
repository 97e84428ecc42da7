"""Run every benchmark on the full zoo and write docs/benchmarks.md."""

import argparse
import subprocess
import sys
from pathlib import Path

from demo.paths import BUILD

DOCS = Path(__file__).parents[1] / "docs"
RESULTS = BUILD / "benchmarks"
SECTIONS = {
    "retrieval": "Finding adapters by their weights",
    "fusion": "Fusing adapters",
}
HEAD = """# Benchmarks

Measured on the full zoo of the miniature world ([demo.md](demo.md)) on two cores without a GPU.
`make zoo` makes the zoo, `make bench` measures it and writes this page; seeds are fixed. The
split is by adapter; nothing was tuned on the held-out part.
"""


def write_page() -> None:
    """Join the tables that the benchmarks left."""
    parts = [HEAD]
    for name, title in SECTIONS.items():
        table = (RESULTS / f"{name}.md").read_text()
        parts.append(f"## {title}\n\n`python -m benchmarks.{name}`\n\n{table}")
    (DOCS / "benchmarks.md").write_text("\n".join(parts))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write-only", action="store_true", help="join existing results")
    if not parser.parse_args().write_only:
        for name in SECTIONS:
            subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
    write_page()
