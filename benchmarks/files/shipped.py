"""Weigh what the repository ships for the demo."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from benchmarks.results import RESULTS, write_results
from benchmarks.tables import table
from demo.paths import DATA
from encoder.sketches.basis import FOLDER as BASES

ROOT = Path(__file__).parents[2]


def weigh() -> Iterator[tuple[str, int]]:
    """Yield every part with its bytes."""
    parts = {path.name: path for path in sorted(DATA.iterdir())}
    parts[str(BASES.relative_to(ROOT))] = BASES
    for name, path in parts.items():
        yield name, sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())


def to_markdown(sizes: dict[str, int]) -> str:
    rows = {**sizes, "all": sum(sizes.values())}
    return table(["part", "MB"], [[name, f"{size / 1e6:.2f}"] for name, size in rows.items()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS / "shipped.json")
    options = parser.parse_args()
    sizes = dict(weigh())
    write_results(options.output, sizes, to_markdown(sizes))


if __name__ == "__main__":
    main()
