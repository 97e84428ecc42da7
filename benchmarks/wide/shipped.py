"""Measure the shipped encoder on adapters of art that nothing shipped has seen.

`python -m demo.world.art` and `python -m demo.world.zoo --unseen --base demo/data/base --folder
demo/build/wide --groups 126` make the adapters: of other icon sets and by other authors, on the
shipped base. They are asked for in other words than captions have, in galleries of 60.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arrays import Doubles, Floats
from benchmarks.results import RESULTS, write_results
from benchmarks.retrieval.methods import sketch_space
from benchmarks.retrieval.networks import FOLDER as NETWORK_FOLDER
from benchmarks.retrieval.networks import NETWORKS
from benchmarks.retrieval.zoo import Space, Zoo
from benchmarks.tables import table
from benchmarks.wide.figures import both, chance, gallery_places, reciprocal, summary
from benchmarks.wide.otherwise import Otherwise
from benchmarks.wide.zoo import LANGUAGES
from demo.paths import DATA, WIDE
from demo.world.concepts import KINDS
from demo.world.splits import SHIPPED_SETS
from encoder.adapter.lora_file import read
from encoder.text_encoder import load_text_encoder
from encoder.training.train import encode_captions, sketch_files
from encoder.weight_encoders.checkpoint import load_encoder
from encoder.weight_encoders.ridge import RidgeEncoder


@dataclass(frozen=True)
class Outside:
    """Adapters with questions; lists run in parallel."""

    rows: list[dict[str, Any]]
    paths: list[Path]
    questions: Floats  # (n, languages, dim)
    otherwise: Otherwise

    @classmethod
    def load(cls, folder: Path, split: str, first_group: int = 0) -> "Outside":
        every = [json.loads(line) for line in (folder / "zoo.jsonl").read_text().splitlines()]
        rows = [
            row
            for row in every
            if row["split"] == split
            and row["group"] >= first_group
            and not SHIPPED_SETS & set(row["sources"])
        ]
        asked = [[row["question"], row["question_zh"]] for row in rows]
        return cls(
            rows,
            [folder / row["file"] for row in rows],
            np.stack(encode_captions(asked, load_text_encoder())),
            Otherwise.of(rows, load_text_encoder()),
        )

    def found(self, space: Space) -> dict[str, Doubles]:
        """Return each adapter's mean reciprocal position, by language."""
        keys = [row["key"] for row in self.rows]
        return {
            language: reciprocal(
                gallery_places(space.project(self.questions[:, place]), space.embeddings, keys)
            )
            for place, language in enumerate(LANGUAGES)
        }


def shipped_spaces(outside: Outside, checkpoint: Path) -> Iterator[tuple[str, Space]]:
    """Yield what each voice of the shipped encoder says by itself, and all of it."""
    encoder = load_encoder(checkpoint)
    assert isinstance(encoder, RidgeEncoder)
    sketches = sketch_files(outside.paths)
    alone = replace(encoder, known=None)
    yield "the ridge alone", Space(alone.encode(sketches), alone.encode_query)
    _, concepts, looks = encoder.voices(sketches)
    yield "concepts alone", Space(concepts, encoder.text.project)
    yield "looks alone", Space(looks, encoder.text.project)
    yield "as shipped", Space(encoder.encode(sketches), encoder.encode_query)


def rival_spaces(
    outside: Outside, folder: Path, networks: Path, seeds: int
) -> Iterator[tuple[str, Space]]:
    """Yield what was trained on the training split of the zoo in `folder`: a ridge, and networks.

    Networks are trained where `networks` does not have them (`benchmarks.retrieval.networks`).
    """
    zoo = Zoo.load(folder)
    adapters = [read(path) for path in (*zoo.paths, *outside.paths)]
    ridge, _ = sketch_space(zoo, sketch_files([*zoo.paths, *outside.paths]))
    yield "a ridge on the zoo", _last(ridge, len(outside.paths))
    for name, train in NETWORKS.items():
        for seed in range(seeds):
            space = train(zoo, adapters, networks, seed)
            yield f"{name} on the zoo, seed {seed}", _last(space, len(outside.paths))


def _last(space: Space, count: int) -> Space:
    return replace(space, embeddings=space.embeddings[-count:])


def describe(outside: Outside, space: Space) -> dict[str, Any]:
    """Return an encoder's figures, all and by kind."""
    found = outside.found(space)
    values = np.mean(list(found.values()), axis=0)
    sources = np.array([row["sources"][0] for row in outside.rows])
    kinds = np.array([row["kind"] for row in outside.rows])
    keys = [row["key"] for row in outside.rows]
    otherwise = outside.otherwise.found(space.project, space.embeddings, keys)
    asked = outside.otherwise.members
    return {
        "mrr": summary(values, sources),
        **{language: float(own.mean()) for language, own in found.items()},
        "kinds": {
            kind: summary(values[kinds == kind], sources[kinds == kind])
            for kind in KINDS
            if (kinds == kind).any()
        },
        "otherwise": {
            kind: summary(otherwise[rows], sources[asked][rows])
            for kind in ("style", "effect")
            if (rows := kinds[asked] == kind).any()
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
        [
            f"{kind}, asked by another writer",
            str(entry["adapters"]),
            *(both(own["otherwise"][kind]) for own in encoders),
        ]
        for kind, entry in encoders[0]["otherwise"].items()
    ]
    rows += [
        [language, "", *(f"{own[language]:.3f}" for own in encoders)] for language in LANGUAGES
    ]
    return table(["of them", "adapters", *(own["name"] for own in encoders)], rows) + (
        f"\nMRR in galleries of 60, chance {chance():.3f}; 95 % intervals by adapter, in round "
        "brackets by source.\n"
    )


def arguments_of(description: str) -> argparse.ArgumentParser:
    """Return a parser of what says which adapters an encoder is measured on."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--zoo", type=Path, default=WIDE)
    parser.add_argument("--encoder", type=Path, default=DATA / "encoder.safetensors")
    parser.add_argument("--split", default="held-out", choices=("validation", "held-out"))
    parser.add_argument("--first-group", type=int, default=0, help="leave out those before")
    return parser


def main() -> None:
    parser = arguments_of(__doc__.splitlines()[0])
    parser.add_argument(
        "--trained", type=Path, help="a zoo to train rivals on, as `make zoo` has it"
    )
    parser.add_argument("--networks", type=Path, default=NETWORK_FOLDER)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each rival")
    parser.add_argument("--output", type=Path, default=RESULTS / "wide_shipped.json")
    options = parser.parse_args()
    outside = Outside.load(options.zoo, options.split, options.first_group)
    spaces = dict(shipped_spaces(outside, options.encoder))
    if options.trained:
        spaces |= rival_spaces(outside, options.trained, options.networks, options.seeds)
    results = {
        "split": options.split,
        "encoders": [{"name": name, **describe(outside, own)} for name, own in spaces.items()],
    }
    write_results(options.output, results, to_markdown(results))


if __name__ == "__main__":
    main()
