"""Where benchmarks leave what they measured: figures as JSON, and the table made of them."""

import json
from pathlib import Path

from demo.paths import BUILD

RESULTS = BUILD / "benchmarks"
DOCS = Path(__file__).parents[1] / "docs"


def write_results(path: Path, results: object, table: str) -> None:
    """Keep figures at `path` (.json) and their table beside it (.md), and print the table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    path.with_suffix(".md").write_text(table)
    print(table)
