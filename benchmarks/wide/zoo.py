"""The wide zoo as its benchmark sees it: sketches and sentences, read once and kept."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.arrays import Floats, Ints
from benchmarks.recipes.pool import layer_grams
from demo.world.zoo import family_of
from encoder.adapter.lora_file import LoraWeights, open_adapter
from encoder.base_models.families import Family
from encoder.sketches.basis import Basis, fit_basis
from encoder.sketches.sketch import Layout, Sketch, layout_of
from encoder.text_encoder import TextEncoder, load_text_encoder
from encoder.training.train import encode_captions

LANGUAGES = ("en", "zh")
# Layers changed less than this are taken as not changed.
SMALLEST = 1e-12


@dataclass(frozen=True)
class WideZoo:
    """Adapters with captions and questions; lists run in parallel."""

    folder: Path
    rows: list[dict[str, Any]]
    family: Family
    text_encoder: TextEncoder
    adapters: list[LoraWeights]

    @classmethod
    def load(cls, folder: Path) -> "WideZoo":
        """Read the table and open the files."""
        rows = [json.loads(line) for line in (folder / "zoo.jsonl").read_text().splitlines()]
        family = family_of(folder / "base")
        adapters = [open_adapter(folder / r["file"], (family,)).read_quickly() for r in rows]
        return cls(folder, rows, family, load_text_encoder(), adapters)

    def indices(self, split: str) -> Ints:
        return np.array([i for i, row in enumerate(self.rows) if row["split"] == split])

    def column(self, name: str) -> list[Any]:
        return [row[name] for row in self.rows]

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
    def questions(self) -> list[Floats]:
        """Every adapter's question in each language: (languages, dim) each."""
        asked = [[row["question"], row["question_zh"]] for row in self.rows]
        return encode_captions(asked, self.text_encoder)

    @cached_property
    def basis(self) -> Basis:
        """Learned from the training adapters."""
        return fit_basis(self.family, [self.adapters[i] for i in self.indices("train")])

    @cached_property
    def sketches(self) -> list[Sketch]:
        layout = layout_of(self.family, self.basis)
        return [sketch_in(self.family, self.basis, layout, own) for own in self.adapters]

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


def sketch_in(family: Family, basis: Basis, layout: Layout, weights: LoraWeights) -> Sketch:
    """Sketch an adapter of a family that the package does not ship, as `encoder.sketches` does."""
    values, magnitudes, mask = [], [], []
    for (name, _), inputs, (outputs, count) in zip(
        family.block_layers.items(), basis.inputs, layout.shapes, strict=True
    ):
        layer = weights.layers.get(name)
        magnitude = 0.0
        if layer is not None:
            down, up = (part.float() for part in layer.factors())
            square = ((up.T @ up) * (down @ down.T)).sum().item()
            magnitude = max(square, 0.0) ** 0.5
        if layer is None or magnitude < SMALLEST:
            values.append(np.zeros(outputs * count, np.float16))
            magnitudes.append(0.0)
        else:
            answers = up @ (down @ inputs.float().T) / magnitude
            values.append(answers.half().flatten().numpy())
            magnitudes.append(float(np.log(magnitude * abs(layer.scale))))
        mask.append(layer is not None and magnitude >= SMALLEST)
    return Sketch(
        layout,
        family.name,
        np.concatenate(values),
        np.array(magnitudes, np.float32),
        np.array(mask),
    )


def of(items: Sequence[Any], rows: Ints) -> list[Any]:
    return [items[i] for i in rows.tolist()]
