"""Run every benchmark on the full zoo and write docs/benchmarks.md."""

import argparse
import subprocess
import sys
from pathlib import Path

from demo.paths import BUILD, DATA
from encoder.sketches.basis import FOLDER as BASES

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

- The first two rows are plain recipes: all layers alike, centred English captions. Ours weighs
  layers by how well they go with the captions, leaves strengths out, and whitens captions in both
  languages by how they differ within an adapter.
- All rows but 'as shipped' were trained on the same 696 adapters: only these compare methods.
  What is shipped saw 704 more (`python -m demo.more`), none of which shares an object, a style
  cell or an effect with the zoo's; its lead over the row before is theirs.
- Trained on the same adapters, ours and the exact ΔW Gram have intervals that touch.
- AutoLoRA's encoder and W2T, trained by contrast on the same adapters and captions, overfit and
  stay far behind. W2T had 20 epochs, AutoLoRA's up to 40, and neither a search for its settings.
  Seconds are beside other work on the machine.
""",
    "growth": """## What more adapters and larger sketches bring

`python -m benchmarks.growth`

- Retrieval still grows with every adapter trained on; the end is not in sight.
- Two learned inputs a layer (`encoder/sketches/basis.py`) find nearly all that more do. Random
  inputs, which base models without a basis get, need over ten times their bytes for the same;
  FLUX.1 has no basis yet.
- Another seed or rank of the same concept is found about as well; the intervals are wide.
- Held-out figures of sizes are for the picture; sizes were chosen on training and validation.
- These tables come from an earlier making of the zoo on the same base, whose adapters differ by
  rounding.
""",
    "recipes": """## Recipes for the encoder, the losers too

`python -m benchmarks.recipes --seeds 1` (an hour; a stopped run goes on)

- Finding more costs bytes: eight learned inputs a layer, four times the bytes of a sketch, find
  .016 more; whole ΔW and the subspaces of outputs that adapters change, for which whole factors
  would have to be kept, .022 and .029. None of them is shipped.
- Polynomial kernels of sketches find .007 more and would have the encoder carry the sketch of
  every adapter it was trained on. Mixing several recipes' similarities finds .005 to .011 more.
- Learned weights for layers find .005 to .008 more than layers all alike or weighed by their
  alignment with captions, with intervals that touch zero on so few adapters; finer ones find less.
- Texts have to be whitened (-.036 otherwise), and English captions alone find .014 more in English
  and .114 less in Chinese. What adapters do to noise brings nothing, alone or beside sketches.
- Networks bring nothing to a ridge on so few adapters: one that starts from nothing stays .093
  behind, one that starts as the ridge stays there. One seed each.
- Rows were compared on the same folds, forty-four of them with the first: a gain of a few
  thousandths whose interval just leaves out zero is no finding.
""",
    "search": """## Searching by everything that is known

`python -m benchmarks.search` ([search.md](search.md) tells how it works)

- All signals together are nowhere worse than the best of them: one of nine differences is below
  zero, by .002, far inside its interval. With half of the metadata lost or wrong they find clearly
  more than the best signal (.046 to .057, intervals clear of zero), for Chinese questions over
  English texts too.
- Captions are compared by what adapters differ in ([search.md](search.md#three-signals)): with full
  metadata they find .91 by themselves in English, where plain similarity found .65, and .85 instead
  of .59 for Chinese questions over English texts.
- Reciprocal ranks, which trust every list alike, lose .04 to .44.
- With full metadata nearly all that is here is answered (.94 and .95), and rightly so; of Chinese
  questions over English texts a third is refused, and where metadata is lost or wrong three to five
  in ten. What is far off is refused always. Of what was taken away 22 to 35 % still find
  something, often a near relative.
- One adapter for each part of a prompt is far better than any choice among the hits for the whole.
- Constants are learned on training adapters, each embedded by an encoder that was not trained on
  it, and validation adapters, in galleries of about 400 (`python -m benchmarks.search.tuning`).
- The held-out adapters have been looked at six times for the first of these tables and five times
  for the others, once for each set of constants.
""",
    "duplicates": """## Finding adapters that were uploaded again

`python -m benchmarks.duplicates`

- Copies are found however they are written, and nothing else for them; what was changed is `near`
  down to half of the rank and to as many more steps as it was trained for.
""",
    "reading": """## Reading files

`python -m benchmarks.files.reading`

- Reading with the full verdict runs at about the speed of sha256, which any download needs
  anyway; where it is slower, names and headers of small files weigh more than their weights.
- Layers are streamed and their pages given back: a file four times as large (rank 64) takes one
  and a half to two times the memory, since its largest layers are larger.
- A verdict by header reads under a thousandth of the file.
""",
    "encoding": """## Encoding files

`python -m benchmarks.files.encoding`

- What is timed is what indexing does with a file: its full verdict and its sketch from one pass
  over the weights, then its embedding, alone. In a page of many, embedding takes a fraction.
- Files are streamed: most of the memory is torch and the encoder, and what a file adds is a few of
  its layers. At rank 256 time grows faster than files do: the verdict's Gram matrices take the
  square of the rank.
- DiffSynth's encoder was timed after the rest, with other work on the second core. It needs a
  generator's share of arithmetic, a transformer over thousands of tokens; ridge regression on a
  sketch reads the file and little else.
""",
    "fingerprints": """## Knowing an adapter again

`python -m benchmarks.duplicates.fingerprints`

- Every rewriting of every adapter is within the tolerance and no two adapters are; the
  largest distance of the first kind is 0.01, the smallest of the second 0.95.
- Factors that are far from orthogonal lose digits when they are rounded: R's largest singular
  value is at most ten times its smallest here. Beyond that, rounding makes another adapter.
- There are no near duplicates in the zoo but those made here, at the end of the table.
""",
    "fusion": """## Fusing adapters

`python -m benchmarks.fusion` (an hour)

- Gates that compete (rivals, shipped) compose better than sum, average and AutoLoRA's gates, with
  two adapters and with a third beside them, intervals clear of zero. AutoLoRA's trained on our
  mixture compose objects and styles as well with two; what they pay for it shows with three (.32
  of an adapter kept) and with five (less than none).
- Rivals keep .90, .83 and .71 of an adapter with two, three and five loaded, where the others keep
  .64 at most. A lone adapter is left alone by definition.
- On unseen pictures rivals keep all that a lone adapter gains (28), with two, three and five
  loaded, clearly more than sum and average, and than AutoLoRA's gates with three and five. With
  two those gain as much (-1.8 [-5.9, 2.2]), and with one more: they weaken adapters even where
  nothing competes, which costs a fifth of what these know of their own pictures and draws unseen
  ones better. Own and unseen pictures together are clear at every n from two; that table was added
  after unseen ones alone had been seen to decide little, for earlier gates and fewer sets.
- That any rival takes a little (`FLOOR`) was chosen on validation, where it keeps less of own
  pictures (.90 before, .89 with .1) and gains more on unseen ones (28 and 34, of 34), with two
  adapters; with five .83 and .76, 26 and 40 of 28 (the other numbers as they were; then they were
  trained anew with it). Learned, it fell below zero. Gates made sharper after training are no
  better there.
- Rivals trust adapters that are loaded and asked for, and drift further than the average on
  pictures of none of them, where nobody is asked for and all stand equal.
- One training seed each. 'AutoLoRA' was trained as its paper does, on sets of training adapters;
  'our data' and rivals on the same mixture with pictures of pairs, 40 of them validation cells.
  Oracles were trained with three draws a step. Each held-out adapter is judged once a table, with
  others drawn beside it. Held-out adapters were looked at three times for these tables, once for
  each change of the gates, which were chosen on validation in between; pictures of held-out pairs
  (fusion.md) were looked at before and after those choices too.
- The strength for five adapters (0.25) was not tuned.
""",
    "recognition": """## Seeing both concepts in fused pictures

`python -m benchmarks.fusion.recognition`

- The judge is a small network trained on the art, held-out concepts too; it has never seen a
  generated picture. 'Resting': guidance leads away from the base without the adapters
  ([fusion.md](fusion.md#guidance)). Gated is what is shipped, sum and average are as in diffusers.
- Gated pictures show both concepts about twice as often as plain sums, with two adapters and with a
  third beside them, intervals clear of zero.
- Resting does most of it: a sum that rests shows both of two adapters as often as gates do. Gates
  matter when something is loaded that nobody asks for; a viewer saw that (fusion.md), the judge is
  not sure of it (+4 [-1, 8]).
- Resting was chosen on validation adapters by the same judge (27 % of 120 pictures, sums 14 %), of
  which 45 to 55 were trained by then. Tried there and no better: a guidance of 2 and of 4, resting
  by a third or two thirds, or beyond rest, strengths of .8 and 1.2, adapters taking turns by step.
  Held-out pairs were judged twice, the first time with gates that took nothing from what is asked
  for (16 and 13 %).
""",
    "departure": """## Adapters that depart from the base together

`python -m benchmarks.fusion.departure`

- Honest adapters, added up, change the base at most 1.6 times as much as the strongest of them
  alone; gates that hold back the strongest come to an eighth of it.
- What is warned of lies beyond bounds that were chosen on as many sets of validation adapters,
  with gates at work in all passes; with the gates that are shipped those come to 1.6 and .16. Of
  180 held-out sets, each added up and gated, one is warned of, gated and by .02; and four to nine
  in ten pairs of attackers. Quieter ones cannot be told from honest sets by this. Held-out sets
  were looked at three times, once for each change of the gates.
""",
    "fusion_cost": """## What fusing costs

`python -m benchmarks.fusion.cost`

- Random weights; "middle" is FLUX.1's architecture at a third of its width, with 1,024 tokens of
  image; one thread, float32, medians of rounds in turning order, nothing else on the machine.
- Gated steps with three adapters take .67 and .90 of PEFT's plain sum of three; AutoLoRA's own
  gates, with their LayerNorms over every output, take more.
- Attaching adapters from files takes .08 and .13 of PEFT's load and set, from the cache .02 and
  .05: what indexing has found out of a file is not found out again, but NaN is looked for.
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
