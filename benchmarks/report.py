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

- The first two rows are the recipes of the design's experiment: all layers alike, centred English
  captions. The others are ours: layers weighed by how well they go with the captions, strengths
  left out, captions in both languages and whitened by how they differ within an adapter.
- Two learned inputs a layer (`encoder/basis.py`) find nearly all that more do, and as shipped
  more than the whole ΔW does by the plain recipe; random directions find far less per byte.
- AutoLoRA's encoder, trained by contrast on the same adapters and captions, overfits and stays
  far behind.
- Training adapters crowd the others out of the full gallery.
""",
    "search": """## Searching by everything that is known

`python -m benchmarks.search` ([search.md](search.md) tells how it works)

- With half of the metadata lost or wrong, all signals together find clearly more than the best of
  them and far more than reciprocal ranks, which trust every list alike.
- With full metadata, names in the index are nearly the questions: words alone find them best in
  English, and all together lose .02 to .03 to them. Elsewhere all together are at least as good as
  the best signal.
- Captions find a question of their own length best; here every length is asked for among covers
  of all lengths, and other adapters' captions of that length come in between.
- An answer is the right one in every case with full metadata, at the price of refusing an eighth
  to a quarter of what is here; where metadata is lost or wrong, half and more is refused. What is
  far off is refused always; of what was taken away 17 to 30 % still find a near relative.
- One adapter for each part of a prompt is nearly twice as good as any choice among the hits for
  the whole.
- The ranking's constants were learned on validation adapters twice: a first run on the held-out
  ones showed that questions of a single length had flattered captions (all together had an MRR of
  .78 with full English metadata). Nothing but the lengths, and a lead for words, was changed.
""",
    "duplicates": """## Finding adapters that were uploaded again

`python -m benchmarks.duplicates`

- Copies are found however they are written, and nothing else for them; what was changed is `near`
  down to half of the rank and to as many more steps as it was trained for.
""",
    "reading": """## Reading files

`python -m benchmarks.reading`

- Reading with the full verdict runs at about the speed of sha256, which any download needs
  anyway; where it is slower, names and headers of small files weigh more than their weights.
- Layers are streamed: memory follows the size of the largest layer, not of the file.
- A verdict by header reads under a thousandth of the file.
""",
    "fingerprints": """## Knowing an adapter again

`python -m benchmarks.fingerprints`

- Every rewriting of every adapter is within the tolerance and no two adapters are; the
  largest distance of the first kind is 0.01, the smallest of the second 0.95.
- Factors that are far from orthogonal lose digits when they are rounded: R's largest singular
  value is at most ten times its smallest here. Beyond that, rounding makes another adapter.
- There are no near duplicates in the zoo but those made here, at the end of the table.
""",
    "fusion": """## Fusing adapters

`python -m benchmarks.fusion`

- With two or three adapters loaded, gates keep more of each than the average does, and far more
  than the plain sum, which with three does harm.
- With a single adapter they cost a part of its gain on its own pictures.
- They do not yet beat the average on withheld (object, style) pictures, and with three adapters
  they fall behind it on unseen pictures: the gates do not know what the prompt is about.
""",
    "fusion_cost": """## What fusing costs

`python -m benchmarks.fusion_cost`

Random weights; "middle" is FLUX.1's architecture at a third of its width, with 1,024 tokens of
image, one thread, float32. Medians of rounds in turning order, on a machine with other work on it.
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
