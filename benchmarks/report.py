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
split is by adapter, and what is trained sees the training split only. The tables of finding
adapters, growth, searching, duplicates and fingerprints come from one making of the zoo; those of
fusing from a later one on the same base, whose adapters differ by rounding.
"""
SECTIONS = {
    "retrieval": """## Finding adapters by their weights

`python -m benchmarks.retrieval`

- The first two rows are plain recipes: all layers alike, centred English captions. Ours weighs
  layers by how well they go with the captions, leaves strengths out, and whitens captions in both
  languages by how they differ within an adapter.
- All rows but 'as shipped' were trained on the same 696 adapters: only these compare methods.
  What is shipped saw 704 more (`python -m demo.more`), none of which shares an object, a style
  cell or an effect with the zoo's; its lead over the row before is theirs.
- Trained on the same adapters, ours and the exact ΔW Gram have intervals that touch.
- AutoLoRA's encoder and W2T, trained by contrast on the same adapters and captions, overfit and
  stay far behind. W2T had 20 epochs, AutoLoRA's up to 40, and neither a search for its settings.
  Their rows come from an earlier making of the zoo on the same base.
""",
    "growth": """## What more adapters and larger sketches bring

`python -m benchmarks.growth`

- Retrieval still grows with every adapter trained on; the end is not in sight.
- Two learned inputs a layer (`encoder/basis.py`) find nearly all that more do. Random inputs,
  which base models without a basis get, need over ten times their bytes for the same; FLUX.1 has
  no basis yet.
- Another seed or rank of the same concept is found about as well; the intervals are wide.
- Held-out figures of sizes are for the picture; sizes were chosen on training and validation.
""",
    "search": """## Searching by everything that is known

`python -m benchmarks.search` ([search.md](search.md) tells how it works)

- All signals together are nowhere worse than the best of them: three of nine differences are below
  zero, by .002 and .003, far inside their intervals. With half of the metadata lost or wrong they
  find clearly more than the best signal for questions in the language of the texts (.05 to .07),
  and as much as the weights alone for Chinese questions over English texts.
- Reciprocal ranks, which trust every list alike, lose .06 to .45.
- With full metadata nearly all that is here is answered (.95 and .97), and rightly so; where
  metadata is lost or wrong, a third is refused. What is far off is refused nearly always. Of what
  was taken away 32 to 43 % still find something, often a near relative.
- One adapter for each part of a prompt is nearly twice as good as any choice among the hits for
  the whole.
- Constants are learned on training adapters, each embedded by an encoder that was not trained on
  it, and validation adapters, in galleries of about 400 (`python -m benchmarks.search_tuning`).
  The held-out adapters have been looked at three times for these tables, once for each ranking.
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
- Layers are streamed and their pages given back: a file four times as large (rank 64) takes one
  and a half to two times the memory, since its largest layers are larger.
- A verdict by header reads under a thousandth of the file.
""",
    "encoding": """## Encoding files

`python -m benchmarks.encoding`

- What is timed is what indexing does with a file: its full verdict and its sketch from one pass
  over the weights, then its embedding, alone. In a page of many, embedding takes a fraction.
- Files are streamed: most of the memory is torch and the encoder, and a file four times as large
  takes 9 MB more. At rank 256 single layers are large, and time grows faster than files do: the
  verdict's Gram matrices take the square of the rank.
- DiffSynth's encoder of LoRAs needs a generator's share of arithmetic, a transformer over
  thousands of tokens; ridge regression on a sketch reads the file and little else.
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

- Gates that compete (rivals, shipped) keep far more of an adapter than anything else with two,
  three and five loaded: .87, .80 and .72. A lone adapter is left alone by definition.
- On withheld (object, style) pictures they beat sum and average with two adapters, and all others
  with a third beside them. **With two they are not shown to beat AutoLoRA's gates**: the interval
  of the difference includes zero, and AutoLoRA's trained on our mixture compose two adapters best.
  What they pay for it shows with three (.26 of an adapter kept) and with five (less than none).
- On unseen pictures AutoLoRA's gates are better with a single adapter.
- Rivals trust the adapters that are loaded more than the average does, so they drift further on
  pictures of none of them. Gates are told what adapters are there to be used for.
- One training seed each. 'AutoLoRA' was trained as its paper does, on sets of training adapters;
  'our data' and rivals on the same mixture with pictures of pairs, 40 of them validation cells.
  Oracles were trained with three draws a step.
- The strength for five adapters (0.25) was not tuned.
""",
    "fusion_cost": """## What fusing costs

`python -m benchmarks.fusion_cost`

- Random weights; "middle" is FLUX.1's architecture at a third of its width, with 1,024 tokens of
  image; one thread, float32, medians of rounds in turning order, nothing else on the machine.
- Gated steps with three adapters take less than PEFT's plain sum of three; AutoLoRA's own gates,
  with their LayerNorms over every output, take more.
- Attaching adapters that are in the cache takes a twentieth of PEFT's load and set. From files it
  takes a fifth to a third: they are read with their full verdict, NaN and spectrum included.
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
