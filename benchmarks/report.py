"""Run every benchmark on the full zoo and write docs/benchmarks.md."""

import argparse
import subprocess
import sys
from pathlib import Path

from demo.paths import BUILD, DATA
from encoder.basis import FOLDER as BASES

DOCS = Path(__file__).parents[1] / "docs"
RESULTS = BUILD / "benchmarks"
HEAD = """# Benchmarks

Measured on the full zoo of the miniature world ([demo.md](demo.md)) on two cores without a GPU.
`make zoo` makes the zoo, `make bench` measures it and writes this page; seeds are fixed. The
split is by adapter, and what is trained sees the training split only.
"""
SECTIONS = {
    "retrieval": """## Finding adapters by their weights

`python -m benchmarks.retrieval`

- The exact Gram matrix of ΔW retrieves best, but to encode a file it needs those of all training
  adapters. Sketches in learned directions (`encoder/basis.py`) come close with 60 KB an adapter;
  random projections of that size keep a few percent of the energy and find far less.
- AutoLoRA's encoder, trained by contrast on the same adapters, overfits and stays far behind.
- Training adapters crowd the others out of the full gallery.
- The shipped checkpoint is fitted to English and Chinese captions; these rows to English ones.
""",
    "fusion": """## Fusing adapters

`python -m benchmarks.fusion`

- With two or three adapters loaded, gates keep more of each than the average does, and far more
  than the plain sum, which with three does harm.
- With a single adapter they cost a part of its gain on its own pictures.
- They do not yet beat the average on withheld (object, style) pictures, and with three adapters
  they fall behind it on unseen pictures: the gates do not know what the prompt is about.
""",
}


def write_page() -> None:
    """Join what is known with the tables that the benchmarks left."""
    parts = [HEAD]
    for name, text in SECTIONS.items():
        parts.append(f"{text}\n{(RESULTS / f'{name}.md').read_text()}")
    parts.append(sizes())
    (DOCS / "benchmarks.md").write_text("\n".join(parts))


def sizes() -> str:
    """Write what the repository ships for the demo, by size."""
    rows = {path.name: path for path in sorted(DATA.iterdir())} | {"encoder/bases": BASES}
    lines = ["## What the demo ships", "", "| part | MB |", "|---|---|"]
    total = 0
    for name, path in rows.items():
        own = sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())
        lines.append(f"| {name} | {own / 1e6:.2f} |")
        total += own
    return "\n".join([*lines, f"| all | {total / 1e6:.2f} |"]) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write-only", action="store_true", help="join existing results")
    if not parser.parse_args().write_only:
        for name in SECTIONS:
            subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
    write_page()
