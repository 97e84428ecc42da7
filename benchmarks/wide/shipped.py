"""Measure the shipped encoder on adapters of art that nothing shipped has seen.

`python -m demo.world.art` and `python -m demo.world.zoo --unseen --base demo/data/base --folder
demo/build/outside --groups 36` make the adapters: of other icon sets and by other authors, on the
shipped base. They are asked for in other words than captions have, in galleries of 60.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arrays import Doubles, Floats
from benchmarks.results import RESULTS, write_results
from benchmarks.tables import table
from benchmarks.wide.figures import both, chance, gallery_places, reciprocal, summary
from benchmarks.wide.zoo import LANGUAGES
from demo.paths import BUILD, DATA
from demo.world.concepts import KINDS
from encoder.sketches.sketch import Sketch
from encoder.text_encoder import load_text_encoder
from encoder.training.train import encode_captions, sketch_files
from encoder.weight_encoders.checkpoint import WeightEncoder, load_encoder
from encoder.weight_encoders.ridge import RidgeEncoder

# Sets that the shipped base was trained on, though the wide one was not.
KNOWN = {"emojione", "emojione-monotone"}


@dataclass(frozen=True)
class Outside:
    """Adapters with questions; lists run in parallel."""

    rows: list[dict[str, Any]]
    sketches: list[Sketch]
    questions: Floats  # (n, languages, dim)

    @classmethod
    def load(cls, folder: Path, split: str) -> "Outside":
        every = [json.loads(line) for line in (folder / "zoo.jsonl").read_text().splitlines()]
        rows = [row for row in every if row["split"] == split and not KNOWN & set(row["sources"])]
        asked = [[row["question"], row["question_zh"]] for row in rows]
        return cls(
            rows,
            sketch_files([folder / row["file"] for row in rows]),
            np.stack(encode_captions(asked, load_text_encoder())),
        )

    def found(self, encoder: WeightEncoder) -> dict[str, Doubles]:
        """Return each adapter's mean reciprocal position, by language."""
        embeddings, keys = encoder.encode(self.sketches), [row["key"] for row in self.rows]
        return {
            language: reciprocal(
                gallery_places(encoder.encode_query(self.questions[:, place]), embeddings, keys)
            )
            for place, language in enumerate(LANGUAGES)
        }


def describe(outside: Outside, encoder: WeightEncoder) -> dict[str, Any]:
    """Return an encoder's figures, all and by kind."""
    found = outside.found(encoder)
    values = np.mean(list(found.values()), axis=0)
    sources = np.array([row["sources"][0] for row in outside.rows])
    kinds = np.array([row["kind"] for row in outside.rows])
    return {
        "mrr": summary(values, sources),
        **{language: float(own.mean()) for language, own in found.items()},
        "kinds": {
            kind: summary(values[kinds == kind], sources[kinds == kind])
            for kind in KINDS
            if (kinds == kind).any()
        },
    }


def to_markdown(results: Mapping[str, Any]) -> str:
    encoders: Sequence[Mapping[str, Any]] = results["encoders"]
    rows = [["all", str(encoders[0]["mrr"]["adapters"]), *(both(own["mrr"]) for own in encoders)]]
    rows += [
        [kind, str(entry["adapters"]), *(both(own["kinds"][kind]) for own in encoders)]
        for kind, entry in encoders[0]["kinds"].items()
    ]
    rows += [
        [language, "", *(f"{own[language]:.3f}" for own in encoders)] for language in LANGUAGES
    ]
    return table(["of them", "adapters", *(own["name"] for own in encoders)], rows) + (
        f"\nMRR in galleries of 60, chance {chance():.3f}; 95 % intervals by adapter, in round "
        "brackets by source.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=BUILD / "outside")
    parser.add_argument("--encoder", type=Path, default=DATA / "encoder.safetensors")
    parser.add_argument("--split", default="held-out", choices=("validation", "held-out"))
    parser.add_argument("--output", type=Path, default=RESULTS / "wide_shipped.json")
    options = parser.parse_args()
    outside, encoder = Outside.load(options.zoo, options.split), load_encoder(options.encoder)
    assert isinstance(encoder, RidgeEncoder)
    named = {"the ridge alone": replace(encoder, concepts=None), "as shipped": encoder}
    results = {
        "split": options.split,
        "encoders": [{"name": name, **describe(outside, own)} for name, own in named.items()],
    }
    write_results(options.output, results, to_markdown(results))


if __name__ == "__main__":
    main()
