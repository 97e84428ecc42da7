"""Train the shipped weight encoder, and before it the basis of its sketches.

Both see training adapters only: the zoo's for the basis, and more (demo/more.py) for the encoder.
What the base's gradients say of concepts (demo/world/gradients.py) is joined last.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from demo.listing import BASE_MODEL
from demo.paths import BUILD, GRADIENTS, MANNERS
from encoder.adapter.lora_file import read
from encoder.base_models.families import find_family
from encoder.sketches.basis import basis_path, find_basis, fit_basis
from encoder.sketches.sketch import default_layout
from encoder.text_encoder import load_text_encoder
from encoder.training.concepts import Gradients, fit_concepts, fit_looks
from encoder.training.dataset import Dataset, read_dataset
from encoder.training.train import fit_ridge, sketch_files
from encoder.weight_encoders.checkpoint import save_encoder

# Names with the fewest pictures come last: the last 300 bring nothing, and take half a megabyte.
CONCEPTS = 3_453


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


def train(zoo: Path, more: Path, gradients: Path, output: Path) -> None:
    dataset = load_dataset(zoo)
    train_basis(dataset)
    dataset, text_encoder = add_more(dataset, more), load_text_encoder()
    with Progress(console=Console(stderr=True)) as bars:
        task = bars.add_task("Encoder")
        encoder = fit_ridge(
            dataset,
            text_encoder,
            name=f"{BASE_MODEL}-ridge",
            base_model=BASE_MODEL,
            progress=lambda done, total, what: bars.update(
                task, completed=done, total=total, description=what
            ),
        )
    sketches = sketch_files([dataset.paths[index] for index in dataset.indices("train")])
    sizes = sketches[0].layout.sizes
    seen = Gradients.load([gradients / "manners", gradients / "names"], sizes)
    looks = Gradients.load([gradients / part for part in MANNERS], sizes)
    encoder = replace(
        encoder,
        concepts=fit_concepts(seen, sketches, text_encoder, most=CONCEPTS),
        looks=fit_looks(looks, sketches, text_encoder),
    )
    save_encoder(encoder, output)
    print(json.dumps(encoder.metrics, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zoo", type=Path, default=BUILD / "zoo")
    parser.add_argument("--more", type=Path, default=BUILD / "more/manifest.json")
    parser.add_argument("--gradients", type=Path, default=GRADIENTS)
    parser.add_argument("--output", type=Path, default=BUILD / "encoder.safetensors")
    arguments = parser.parse_args()
    train(arguments.zoo, arguments.more, arguments.gradients, arguments.output)
