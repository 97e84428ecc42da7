"""Show what the retriever fails at: held-out adapters that weights alone place worst, and why.

For each: what it was asked and what came first instead, which facts could explain it, and
which types of layer spoke for the wrong one.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.results import DOCS
from benchmarks.retrieval.kernels import factors_by_layer, product_of_grams
from benchmarks.retrieval.zoo import BASE_MODEL, Zoo
from demo.paths import BUILD
from encoder.adapter.lora_file import read
from encoder.arrays import Floats
from encoder.text_encoder import normalise
from encoder.training.train import sketch_files
from encoder.weight_encoders.autolora import family_of
from encoder.weight_encoders.checkpoint import load_encoder
from encoder.weight_encoders.layer_batch import kinds_of, stack_weights
from encoder.weight_encoders.metrics import positions
from encoder.weight_encoders.ridge import RidgeEncoder, scaled_features

# Numbers of the adapters that docs/search.md tells of: they fail for different reasons.
CASES = (185, 504, 847)
COVERS, PIXELS, ZOOM = 3, 32, 3
NEAREST = 3  # training captions that tell what an adapter is taken for
SPEAKING = 3  # layer types shown


@dataclass(frozen=True)
class Shelf:
    """Held-out adapters as the encoder sees them, with all that was measured of them."""

    entries: list[dict[str, Any]]
    numbers: list[int]  # in the listing
    embeddings: Floats
    asked: Floats  # short English captions, as queries
    similarity: Floats  # (captions, adapters), short English captions
    alike: Floats  # cosine between whole ΔW, layers weighted alike
    alike_in_words: Floats  # cosine between mean captions in the encoder's space
    by_kind: Floats  # (kinds, adapters, dim): what each type of layer adds to an embedding
    kinds: list[str]
    taught: list[str]  # short captions of the training adapters
    taught_queries: Floats

    @classmethod
    def load(cls, folder: Path, encoder: RidgeEncoder) -> "Shelf":
        zoo = Zoo.load(folder)
        entries = json.loads((folder / "listing.json").read_text())
        numbers, train = zoo.indices("held-out"), zoo.indices("train")
        paths = [zoo.paths[i] for i in numbers]
        sketches = sketch_files(paths)
        embeddings = encoder.encode(sketches)
        asked = encoder.encode_query(np.stack([zoo.english[i][0] for i in numbers]))
        means = np.stack([encoder.encode_query(zoo.english[i]).mean(axis=0) for i in numbers])
        features = scaled_features(sketches, encoder.layer_scales) - encoder.means
        family = family_of(BASE_MODEL)
        kinds = kinds_of(family)
        layer_of = np.arange(len(family.block_layers)).repeat(sketches[0].layout.sizes)
        parts = [
            encoder.down.apply(features * np.isin(layer_of, kind.places)) @ encoder.up
            for kind in kinds
        ]
        by_kind = np.stack(parts)
        by_kind /= np.linalg.norm(by_kind.sum(axis=0), axis=1, keepdims=True)
        batch = stack_weights(family, [read(path) for path in paths])
        alike = np.zeros((len(paths), len(paths)), np.float32)
        for _, down, up in factors_by_layer(family, batch):
            alike += product_of_grams(down, up.mT).numpy()
        return cls(
            entries=[entries[i] for i in numbers],
            numbers=numbers,
            embeddings=embeddings,
            asked=asked,
            similarity=asked @ embeddings.T,
            alike=alike / np.float32(len(family.block_layers)),
            alike_in_words=normalise(means) @ normalise(means).T,
            by_kind=by_kind,
            kinds=[kind.name for kind in kinds],
            taught=[entries[i]["_captions"][0] for i in train],
            taught_queries=encoder.encode_query(np.stack([zoo.english[i][0] for i in train])),
        )

    def places(self) -> list[float]:
        """Return each adapter's place for its short caption."""
        targets = np.arange(len(self.entries))
        return [float(place) for place in positions(self.similarity, targets)]

    def first(self, place: int) -> int:
        """Return which adapter comes first, the one asked for apart."""
        order = np.argsort(-self.similarity[place])
        return int(order[0] if order[0] != place else order[1])

    def explain(self, place: int) -> str:
        """Write what there is to know of a failure."""
        found, entry = self.first(place), self.entries[place]
        column = self.similarity[:, found]
        lines = [
            f"{self.numbers[place]:04d} {entry['_captions'][0]!r} ({entry['_kind']}): "
            f"place {self.places()[place]:.0f}, similarity {self.similarity[place, place]:.2f}",
            f"  first: {self.numbers[found]:04d} {self.entries[found]['_captions'][0]!r} "
            f"({self.entries[found]['_kind']}), similarity {column[place]:.2f}; "
            f"first for {int((self.similarity.argmax(axis=1) == found).sum())} questions, "
            f"among ten for {self.times_among_ten(found)}",
            f"  wanted is taken for: {self.taken_for(place)}",
            f"  first is taken for: {self.taken_for(found)}",
            f"  loss gain on own pictures: wanted {gain(entry):.0%}, first "
            f"{gain(self.entries[found]):.0%}, median of its kind {self.usual_gain(place):.0%}",
            f"  gain on unseen pictures: wanted {gain(entry, 'unseen'):.0%}, median of its kind "
            f"{self.usual_gain(place, 'unseen'):.0%}",
            f"  ΔW alike: {self.alike[place, found]:.3f}, more than "
            f"{share_below(self.alike, place, found):.0%} of pairs with wanted",
            f"  captions alike: {self.alike_in_words[place, found]:.2f}, more than "
            f"{share_below(self.alike_in_words, place, found):.0%} of pairs with wanted",
            f"  layers that spoke for the first: {self.speakers(place, found)}",
            f"  long caption: {entry['_captions'][2]}",
        ]
        return "\n".join(lines)

    def times_among_ten(self, adapter: int) -> int:
        own = self.similarity[:, adapter, None]
        return int(((self.similarity > own).sum(axis=1) < 10).sum())

    def taken_for(self, place: int) -> str:
        """Return the training captions nearest to an embedding."""
        nearness = self.taught_queries @ self.embeddings[place]
        best = np.argsort(-nearness)[:NEAREST]
        return "; ".join(f"{self.taught[i]} {nearness[i]:.2f}" for i in best)

    def usual_gain(self, place: int, which: str = "") -> float:
        kind = self.entries[place]["_kind"]
        return float(np.median([gain(e, which) for e in self.entries if e["_kind"] == kind]))

    def speakers(self, place: int, found: int) -> str:
        """Return the layer types whose share of the similarity differs most."""
        shares = self.by_kind @ self.asked[place]
        ahead = shares[:, found] - shares[:, place]
        best = np.argsort(-ahead)[:SPEAKING]
        return ", ".join(f"{self.kinds[i]} {ahead[i]:+.3f}" for i in best) + (
            f"; of {ahead.sum():+.3f} in all"
        )


def gain(entry: dict[str, Any], which: str = "") -> float:
    """Return by how much the loss on an adapter's pictures fell below the base's."""
    before, after = ("unseen_base", "unseen") if which == "unseen" else ("base", "own")
    return 1 - float(entry["_losses"][after]) / float(entry["_losses"][before])


def share_below(square: Floats, row: int, column: int) -> float:
    others = np.delete(square[row], [row, column])
    return float((others < square[row, column]).mean())


def draw(shelf: Shelf, places: Sequence[int], covers: Path, output: Path) -> None:
    """Draw covers of what was wanted and of what came first, side by side."""
    side, gap, label = PIXELS * ZOOM, 8, 30
    width, height = 2 * (COVERS * (side + 2) + gap) + gap, label + side + gap
    sheet = Image.new("RGB", (width, len(places) * height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for row, place in enumerate(places):
        found = shelf.first(place)
        for column, (adapter, role) in enumerate(((place, "wanted"), (found, "found first"))):
            left = gap + column * (COVERS * (side + 2) + gap)
            entry = shelf.entries[adapter]
            at = f", place {shelf.places()[place]:.0f}" if adapter == place else ""
            pen.text((left, row * height), f"{role}{at}:\n{entry['_captions'][0]}", "black", font)
            for k in range(COVERS):
                with Image.open(covers / f"{shelf.numbers[adapter]:04d}-{k}.png") as cover:
                    large = cover.convert("RGB").resize((side, side), Image.Resampling.NEAREST)
                sheet.paste(large, (left + k * (side + 2), row * height + label))
    output.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(output, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=BUILD / "zoo")
    parser.add_argument("--encoder", type=Path, default=BUILD / "encoder.safetensors")
    parser.add_argument("--worst", type=int, default=12, help="failures to print")
    parser.add_argument("--draw", type=int, nargs="*", default=CASES, help="adapters to draw")
    parser.add_argument("--output", type=Path, default=DOCS / "images/failures.png")
    options = parser.parse_args()
    encoder = load_encoder(options.encoder)
    assert isinstance(encoder, RidgeEncoder), "only a linear encoder's layers can be told apart"
    shelf = Shelf.load(options.zoo, encoder)
    places = np.array(shelf.places())
    counts = [int((places <= k).sum()) for k in (1, 10, 100)]
    print(f"of {len(places)}, {counts[0]} first, {counts[1]} among 10, {counts[2]} among 100\n")
    shown = [shelf.numbers.index(number) for number in options.draw]
    for place in [*shown, *np.argsort(-places, kind="stable")[: options.worst].tolist()]:
        print(shelf.explain(place) + "\n")
    if shown:
        draw(shelf, shown, options.zoo / "covers", options.output)


if __name__ == "__main__":
    main()
