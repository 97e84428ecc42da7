"""The zoo as benchmarks of retrieval see it, and the figures they share."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.intervals import resamples, with_spread
from encoder.arrays import Doubles, Floats, Ints
from encoder.text_encoder import TextEncoder, load_text_encoder
from encoder.training.dataset import Dataset, read_dataset
from encoder.training.train import encode_captions
from encoder.weight_encoders.metrics import RetrievalMetrics, positions

BASE_MODEL = "demo-flux-tiny"
# Figures of small zoos compare only in galleries of equal size.
SMALL_GALLERY, SMALL_DRAWS = 60, 300


@dataclass(frozen=True)
class Zoo:
    """Adapters with captions in two languages, embedded; lists run in parallel.

    The first `listed` are the zoo's; more, for training only, may follow.
    """

    paths: list[Path]
    kinds: list[str]
    splits: list[str]
    captions: list[list[str]]  # English, then Chinese
    english: list[Floats]
    chinese: list[Floats]
    text_encoder: TextEncoder
    listed: int

    @classmethod
    def load(cls, folder: Path, more: Path | None = None) -> "Zoo":
        """Read the zoo's listing, and the manifest of more adapters for training (demo/more.py)."""
        entries = json.loads((folder / "listing.json").read_text())
        text_encoder = load_text_encoder()
        english = [entry["_captions"] for entry in entries]
        chinese = [entry["_captions_zh"] for entry in entries]
        others = read_dataset(more) if more else Dataset([], [], [])
        english += [list(own[: len(own) // 2]) for own in others.captions]
        chinese += [list(own[len(own) // 2 :]) for own in others.captions]
        return cls(
            paths=[*(folder / entry["file"] for entry in entries), *others.paths],
            kinds=[*(entry["_kind"] for entry in entries), *["more"] * len(others.paths)],
            splits=[*(entry["_split"] for entry in entries), *others.splits],
            captions=[[*own, *zh] for own, zh in zip(english, chinese, strict=True)],
            english=encode_captions(english, text_encoder),
            chinese=encode_captions(chinese, text_encoder),
            text_encoder=text_encoder,
            listed=len(entries),
        )

    @property
    def both(self) -> list[Floats]:
        """Every adapter's captions in both languages."""
        return [np.concatenate(pair) for pair in zip(self.english, self.chinese, strict=True)]

    @property
    def dataset(self) -> Dataset:
        return Dataset(self.paths, self.captions, self.splits)

    def indices(self, split: str) -> list[int]:
        return [index for index, own in enumerate(self.splits) if own == split]


@dataclass(frozen=True)
class Space:
    """A method's result: every adapter's embedding, and how queries get beside them."""

    embeddings: Floats  # (adapters, dim), unit rows
    project: Callable[[Floats], Floats]


def measure(zoo: Zoo, space: Space, split: str) -> dict[str, Any]:
    """Return all figures of a split; intervals are 95 %, by bootstrap over its adapters."""
    own = zoo.indices(split)
    galleries = {"own": own, "everything": list(range(zoo.listed))}
    languages = {"english": zoo.english, "chinese": zoo.chinese}
    figures: dict[str, Any] = {}
    for language, captions in languages.items():
        queries = space.project(np.concatenate([captions[i] for i in own]))
        each = len(captions[own[0]])
        for name, gallery in galleries.items():
            similarity = queries @ space.embeddings[gallery].T
            targets = np.repeat([gallery.index(i) for i in own], each)
            place = positions(similarity, targets).reshape(len(own), each)
            figures[f"{language}, {name}"] = summary(place)
            if name == "own":
                small = small_gallery_mrr(similarity, targets)
                figures[f"{language}, {name}"][f"mrr_of_{SMALL_GALLERY}"] = small
                figures[f"{language}, {name}"]["mrr_by_kind"] = {
                    kind: float((1 / place[[zoo.kinds[i] == kind for i in own]]).mean())
                    for kind in sorted({zoo.kinds[i] for i in own})
                }
    return figures


def summary(place: Doubles) -> dict[str, Any]:
    """Figures of positions (adapters, captions), each with its interval."""
    draws = [asdict(RetrievalMetrics.of(place[row])) for row in resamples(len(place))]
    return {
        name: with_spread(value, [draw[name] for draw in draws])
        for name, value in asdict(RetrievalMetrics.of(place)).items()
    }


def small_gallery_mrr(similarity: Floats, targets: Ints) -> float:
    """Return the mean MRR of random galleries of `SMALL_GALLERY` adapters."""
    rng, found = np.random.default_rng(0), []
    for _ in range(SMALL_DRAWS):
        gallery = rng.permutation(similarity.shape[1])[:SMALL_GALLERY]
        asked = np.isin(targets, gallery)
        place_of = {adapter: place for place, adapter in enumerate(gallery.tolist())}
        own = np.array([place_of[target] for target in targets[asked].tolist()])
        found.append(float((1 / positions(similarity[asked][:, gallery], own)).mean()))
    return float(np.mean(found))
