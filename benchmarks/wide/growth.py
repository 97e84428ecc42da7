"""Measure what some captioned adapters of unseen sources bring to the others of these sources.

`python -m benchmarks.wide.growth` joins 20 to 200 adapters of art that nothing shipped has seen to
what the shipped encoder knows, as an index does that learns from itself, and looks for the rest,
those of the same sources and authors.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import RESULTS, write_results
from benchmarks.tables import table
from benchmarks.wide.asking import in_parts
from benchmarks.wide.figures import chance
from benchmarks.wide.shipped import arguments_of
from benchmarks.wide.zoo import Outside
from demo.paths import DATA
from demo.world.concepts import KINDS
from encoder.arrays import Doubles
from encoder.sketches.sketch import Sketch
from encoder.text_encoder import load_text_encoder
from encoder.training.learn_on import learn_on
from encoder.training.train import SketchedAdapters, encode_captions, sketch_files
from encoder.weight_encoders.checkpoint import load_encoder
from encoder.weight_encoders.ridge import RidgeEncoder

JOINED = (0, 20, 50, 100, 200)


def joined(outside: Outside, sketches: Sequence[Sketch], places: Sequence[int]) -> SketchedAdapters:
    rows = [outside.rows[place] for place in places]
    said = [[*row["captions"], *row["captions_zh"]] for row in rows]
    return SketchedAdapters(
        [sketches[place] for place in places],
        encode_captions(said, load_text_encoder()),
        groups=[row["group"] for row in rows],
    )


def found(
    outside: Outside, sketches: Sequence[Sketch], places: Sequence[int], encoder: RidgeEncoder
) -> Doubles:
    """Return the mean reciprocal position of adapters among themselves, in both languages."""
    rest = replace(outside, rows=[outside.rows[place] for place in places])
    own = encoder.encode([sketches[place] for place in places])
    by_language = rest.found(in_parts(own, encoder))
    means: Doubles = np.mean(list(by_language.values()), axis=0)
    return means


def measure(outside: Outside, encoder: RidgeEncoder, draws: int) -> list[dict[str, Any]]:
    """Return for each number joined the MRR of the rest, of each draw, and by kind."""
    sketches = sketch_files(outside.paths)
    most = max(JOINED)
    rows: list[dict[str, Any]] = [{"joined": count, "draws": [], "kinds": {}} for count in JOINED]
    for seed in range(draws):
        order = np.random.default_rng(seed).permutation(len(outside.rows)).tolist()
        rest = order[most:]
        kinds = np.array([outside.rows[place]["kind"] for place in rest])
        for row in rows:
            own = encoder
            if row["joined"]:
                adapters = joined(outside, sketches, order[: row["joined"]])
                own = learn_on(encoder, adapters, name="joined", seed=seed)
            values = found(outside, sketches, rest, own)
            row["draws"].append(float(values.mean()))
            for kind in KINDS:
                row["kinds"].setdefault(kind, []).append(float(values[kinds == kind].mean()))
    return rows


def to_markdown(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        [
            str(row["joined"]),
            f"{np.mean(row['draws']):.3f} ({min(row['draws']):.3f} to {max(row['draws']):.3f})",
            *(f"{np.mean(row['kinds'][kind]):.3f}" for kind in KINDS),
        ]
        for row in rows
    ]
    return table(["joined", "all", *KINDS], lines) + (
        f"\nMRR of the others, in galleries of 60, chance {chance():.3f}; means of draws, and the "
        "least and the most of them.\n"
    )


def main() -> None:
    parser = arguments_of(__doc__.splitlines()[0])
    parser.add_argument("--encoder", type=Path, default=DATA / "encoder.safetensors")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULTS / "wide_growth.json")
    options = parser.parse_args()
    encoder = load_encoder(options.encoder)
    assert isinstance(encoder, RidgeEncoder)
    outside = Outside.load(options.zoo, options.split, options.first_group)
    rows = measure(outside, encoder, options.draws)
    write_results(options.output, rows, to_markdown(rows))


if __name__ == "__main__":
    main()
