"""Train the shipped weight encoder, and before it the basis of its sketches.

The zoo's training adapters are for the basis; a ridge is fitted on them and more (demo/more.py). It
then learns on with adapters of other art by other authors (demo/world/zoo.py). Strangers, of art
that nothing else has seen, tell how far to believe it beside what the base's gradients say of
concepts (demo/world/gradients.py), validation adapters how far to believe it of the zoo's own art.
Last comes how a question that says what and how is heard.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import Progress

from demo.listing import BASE_MODEL
from demo.paths import BUILD, GRADIENTS, MANNERS, THINGS, WIDE
from demo.world.concepts import subject_of
from encoder.adapter.lora_file import read
from encoder.arrays import Floats
from encoder.base_models.families import find_family
from encoder.sketches.basis import basis_path, find_basis, fit_basis
from encoder.sketches.sketch import Sketch, default_layout
from encoder.text_encoder import TextEncoder, load_text_encoder
from encoder.training.beliefs import KnownArt, learn_whom_to_believe
from encoder.training.concepts import Gradients, fit_concepts, fit_looks
from encoder.training.dataset import Dataset, read_dataset
from encoder.training.learn_on import learn_on
from encoder.training.progress import Progress as TrainingProgress
from encoder.training.train import SketchedAdapters, encode_captions, fit_ridge, sketch_files
from encoder.training.what_and_how import learn_what_and_how
from encoder.weight_encoders.checkpoint import save_encoder
from encoder.weight_encoders.concepts import Concepts

# How often ways of saying the same are counted, beside the captions of some 3,000 adapters.
COUNTED = 2


def load_dataset(zoo: Path) -> Dataset:
    """All adapters with their captions in both languages: queries come in both."""
    entries = json.loads((zoo / "listing.json").read_text())
    return Dataset(
        [zoo / entry["file"] for entry in entries],
        [[*entry["_captions"], *entry["_captions_zh"]] for entry in entries],
        [entry["_split"] for entry in entries],
    )


def add_more(dataset: Dataset, manifest: Path) -> Dataset:
    """Join the zoo with more adapters for training."""
    more = read_dataset(manifest)
    assert set(more.splits) <= {"train"}
    return Dataset(
        [*dataset.paths, *more.paths],
        [*dataset.captions, *more.captions],
        [*dataset.splits, *more.splits],
    )


def train_basis(dataset: Dataset) -> None:
    """Find the basis of the base's sketches, once: sketches in another one do not compare."""
    path = basis_path(BASE_MODEL)
    if path.exists():
        return
    family = find_family(BASE_MODEL)
    assert family is not None
    adapters = [read(dataset.paths[index]) for index in dataset.indices("train")]
    fit_basis(family, adapters).save(path)
    find_basis.cache_clear()
    default_layout.cache_clear()


@dataclass(frozen=True)
class Wide:
    """The wide zoo but what is for choices and reports; lists run in parallel."""

    dataset: Dataset
    authors: list[int]
    rows: list[Mapping[str, Any]]


def read_wide(folder: Path) -> Wide:
    """Read the adapters to learn from, and as a validation split those to learn beliefs by."""
    lines = (folder / "zoo.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["split"] in ("train", "beliefs")]
    dataset = Dataset(
        [folder / row["file"] for row in rows],
        [[*row["captions"], *row["captions_zh"]] for row in rows],
        ["train" if row["split"] == "train" else "validation" for row in rows],
    )
    return Wide(dataset, [row["group"] for row in rows], rows)


def embed_sayings(wide: Dataset, text_encoder: TextEncoder) -> list[Floats]:
    """Embed what is said of the wide zoo and in how many ways, as much as each is to count."""
    # Made looks are drawn with scipy, which only who makes a zoo has.
    from demo.world.ways_to_say import ways_to_say

    ways = encode_captions(ways_to_say(), text_encoder)
    captions = [wide.captions[place] for place in wide.indices("train")]
    return [*encode_captions(captions, text_encoder), *ways * COUNTED]


@dataclass(frozen=True)
class Vocabulary:
    """What the base's gradients say of things, and of looks and effects."""

    things: Gradients
    manners: Gradients
    looks: Gradients  # manners, and looks that are made up

    @classmethod
    def load(cls, folder: Path, sizes: npt.NDArray[np.int64]) -> "Vocabulary":
        things, manners, looks = (
            Gradients.load([folder / part for part in parts], sizes)
            for parts in (THINGS, MANNERS[:1], MANNERS)
        )
        return cls(things, manners, looks)

    def shown(self, row: Mapping[str, Any]) -> int | None:
        """Return the place among things of what an adapter to learn beliefs by shows."""
        if row["split"] != "beliefs" or row["kind"] in ("style", "effect"):
            return None
        if row["kind"] == "subject":
            return self.things.place(subject_of(row["key"]), THINGS.index("sorts"))
        return self.things.place(row["thing"], THINGS.index("names"))

    def fit(
        self, sketches: Sequence[Sketch], wide: Wide, text_encoder: TextEncoder
    ) -> tuple[Concepts, Concepts]:
        """Return the concepts and the looks to hold adapters against; `sketches` are of `wide`."""
        shown = [self.shown(row) for row in wide.rows]
        return (
            fit_concepts(self.things, sketches, text_encoder, manners=self.manners, shown=shown),
            fit_looks(self.looks, sketches, text_encoder),
        )


def train(zoo: Path, more: Path, wide: Path, gradients: Path, output: Path) -> None:
    dataset = load_dataset(zoo)
    train_basis(dataset)
    dataset = add_more(dataset, more)
    others, text_encoder = read_wide(wide), load_text_encoder()
    with bars() as progress:
        ridge = fit_ridge(
            dataset,
            text_encoder,
            name=f"{BASE_MODEL}-ridge",
            base_model=BASE_MODEL,
            sayings=embed_sayings(others.dataset, text_encoder),
            progress=progress,
        )
        wide_sketches = sketch_files(others.dataset.paths, progress=progress)
    captions = encode_captions(others.dataset.captions, text_encoder)
    vocabulary = Vocabulary.load(gradients, wide_sketches[0].layout.sizes)

    def some(places: Sequence[int]) -> SketchedAdapters:
        return SketchedAdapters(
            [wide_sketches[place] for place in places],
            [captions[place] for place in places],
            groups=[others.authors[place] for place in places],
        )

    others_seen = some(others.dataset.indices("train"))
    seen, unseen = (sketched(dataset, split, text_encoder) for split in ("train", "validation"))
    # Those that the ridge was fitted on are learned from again, so that they are found as before.
    learned = learn_on(ridge, joined(others_seen, seen), name=ridge.name, cautious=True)
    encoder = learn_whom_to_believe(
        learned,
        some(others.dataset.indices("validation")),
        *vocabulary.fit(wide_sketches, others, text_encoder),
        KnownArt(seen.sketches, others_seen.sketches, unseen),
    )
    heard = learn_what_and_how(
        list(chain(*vocabulary.things.told)),
        list(chain(*vocabulary.looks.told)),
        text_encoder,
        encoder.encode(wide_sketches),
    )
    metrics = {**ridge.metrics, "learned_on": dict(learned.metrics)}
    save_encoder(replace(encoder, heard=heard, metrics=metrics), output)
    print(json.dumps(metrics, indent=1))


def sketched(dataset: Dataset, split: str, text_encoder: TextEncoder) -> SketchedAdapters:
    """Sketch a split of the miniature world; each of its adapters is a group of its own."""
    places = dataset.indices(split)
    return SketchedAdapters(
        sketch_files([dataset.paths[place] for place in places]),
        encode_captions([dataset.captions[place] for place in places], text_encoder),
        groups=[-1 - place for place in places],
    )


def joined(first: SketchedAdapters, second: SketchedAdapters) -> SketchedAdapters:
    return SketchedAdapters(
        [*first.sketches, *second.sketches],
        [*first.captions, *second.captions],
        groups=[*(first.groups or ()), *(second.groups or ())],
    )


@contextmanager
def bars() -> Iterator[TrainingProgress]:
    """Show how far the parts of the training are."""
    with Progress(console=Console(stderr=True)) as shown:
        task = shown.add_task("Encoder")
        yield lambda done, total, what: shown.update(
            task, completed=done, total=total, description=what
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zoo", type=Path, default=BUILD / "zoo")
    parser.add_argument("--more", type=Path, default=BUILD / "more/manifest.json")
    parser.add_argument("--wide", type=Path, default=WIDE)
    parser.add_argument("--gradients", type=Path, default=GRADIENTS)
    parser.add_argument("--output", type=Path, default=BUILD / "encoder.safetensors")
    arguments = parser.parse_args()
    train(arguments.zoo, arguments.more, arguments.wide, arguments.gradients, arguments.output)
