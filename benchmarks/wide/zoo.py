"""The wide zoo as its benchmarks see it: all its adapters, and those that are asked for.

`python -m demo.world.art` and `python -m demo.world.zoo --groups 126` make it; `--unseen` makes
those alone that are kept for choices and reports, which is enough to measure an encoder. These are
of icon sets and by authors that nothing shipped has seen, and are asked for in other words than
captions have.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.recipes.pool import layer_grams
from benchmarks.retrieval.zoo import BASE_MODEL
from benchmarks.wide.asking import Encoded
from benchmarks.wide.figures import gallery_places, reciprocal
from benchmarks.wide.otherwise import Otherwise
from demo.world.splits import is_stranger
from encoder.adapter.lora_file import LoraWeights, read
from encoder.arrays import Doubles, Floats, Ints
from encoder.base_models.families import Family, find_family
from encoder.sketches.sketch import Sketch
from encoder.text_encoder import TextEncoder, load_text_encoder
from encoder.training.train import encode_captions, sketch_files

# And where a row has its question.
LANGUAGES = {"en": "question", "zh": "question_zh"}
# Layers changed less than this are taken as not changed.
SMALLEST = 1e-12

Row = dict[str, Any]


def read_rows(folder: Path, *, beliefs: bool = False) -> list[Row]:
    """Read what is told of every adapter to learn from, and of the strangers to ask for.

    With `beliefs` also of those that are there to learn from whom to believe.
    """
    rows = [json.loads(line) for line in (folder / "zoo.jsonl").read_text().splitlines()]
    learned = {"train", "beliefs"} if beliefs else {"train"}
    return [
        row
        for row in rows
        if row["split"] in learned or (row["split"] != "beliefs" and is_stranger(row["sources"]))
    ]


@dataclass(frozen=True)
class Outside:
    """Adapters of a split with questions; lists run in parallel."""

    rows: list[Row]
    paths: list[Path]
    otherwise: Otherwise

    @classmethod
    def load(cls, folder: Path, split: str, first_group: int = 0) -> "Outside":
        rows = [
            row
            for row in read_rows(folder)
            if row["split"] == split and row["group"] >= first_group
        ]
        return cls(rows, [folder / row["file"] for row in rows], Otherwise.of(rows))

    def found(self, encoded: Encoded) -> dict[str, Doubles]:
        """Return each adapter's mean reciprocal position, by language."""
        keys = [row["key"] for row in self.rows]
        return {
            language: reciprocal(
                gallery_places(
                    encoded.ask([row[question] for row in self.rows]), encoded.embeddings, keys
                )
            )
            for language, question in LANGUAGES.items()
        }


@dataclass(frozen=True)
class WideZoo:
    """All adapters, to train on and to ask for; lists run in parallel."""

    rows: list[Row]
    paths: list[Path]
    family: Family
    text_encoder: TextEncoder

    @classmethod
    def load(cls, folder: Path, *, beliefs: bool = False) -> "WideZoo":
        family = find_family(BASE_MODEL)
        assert family is not None
        rows = read_rows(folder, beliefs=beliefs)
        return cls(rows, [folder / row["file"] for row in rows], family, load_text_encoder())

    def indices(self, split: str, first_group: int = 0) -> Ints:
        return np.array(
            [
                place
                for place, row in enumerate(self.rows)
                if row["split"] == split and row["group"] >= first_group
            ]
        )

    @cached_property
    def sources(self) -> list[str]:
        """Each adapter's source; of several the first, so that a source's are drawn together."""
        return [row["sources"][0] for row in self.rows]

    @cached_property
    def captions(self) -> list[Floats]:
        """Every adapter's captions, English and Chinese: (captions, dim) each."""
        said = [[*row["captions"], *row["captions_zh"]] for row in self.rows]
        return encode_captions(said, self.text_encoder)

    @cached_property
    def adapters(self) -> list[LoraWeights]:
        return [read(path, (self.family,)) for path in self.paths]

    @cached_property
    def sketches(self) -> list[Sketch]:
        return sketch_files(self.paths)

    @cached_property
    def grams(self) -> Floats:
        """How alike sketches are in every layer, (layers, n, n)."""
        values = np.stack([own.values for own in self.sketches]).astype(np.float32)
        return layer_grams(values, self.sketches[0].layout.sizes)

    @cached_property
    def exact_grams(self) -> Floats:
        """The same of whole ΔW, each layer's of length 1."""
        count = len(self.adapters)
        grams = np.empty((len(self.family.block_layers), count, count), np.float32)
        for place, (name, (d_out, d_in)) in enumerate(self.family.block_layers.items()):
            rows = torch.zeros(count, d_out * d_in)
            for row, weights in zip(rows, self.adapters, strict=True):
                if name in weights.layers:
                    down, up = (part.float() for part in weights.layers[name].factors())
                    torch.matmul(up, down, out=row.view(d_out, d_in))
            rows /= rows.norm(dim=1, keepdim=True).clamp(min=SMALLEST)
            grams[place] = (rows @ rows.T).numpy()
        return grams


def of(items: Sequence[Any], rows: Ints) -> list[Any]:
    return [items[i] for i in rows.tolist()]
