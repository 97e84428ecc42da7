"""What gates are trained on, for any FLUX base: adapters, and images with prompts.

A manifest is a JSON list; files lie relative to it:

    {"adapters": ["ink.safetensors"], "split": "train",
     "images": [{"file": "ink/1.png", "prompt": "a fox, ink drawing"}, ...]}

An entry of one adapter is trained on with others, drawn at random, loaded beside it. One of
several says what they shall make together: images that none of them has seen, since on those
that they have, gates learn to trust them too much. Splits are train and validation.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from crawler.broken_images import BROKEN_IMAGE
from crawler.counted import counted
from crawler.hashed_file import hash_file
from encoder.adapter.lora_file import read
from encoder.text_encoder import TextEncoder, load_text_encoder
from encoder.training.train import sketch_files
from encoder.weight_encoders.checkpoint import WeightEncoder, load_encoder
from registry.fusion.backends.pipeline import PipelineBackend
from registry.fusion.errors import GateDataError, GatePictureError
from registry.fusion.relevance import relevance_of
from registry.fusion.training.adapter_bank import AdapterBank
from registry.fusion.training.train import SET_SIZES, GateBatch, GateTraining
from registry.text.prompt_phrases import texts_of

# How many sets of each size the validation curve has.
VALIDATION_SETS = 8
# The weight of gates' shyness in the loss, on images that several adapters are about.
BOLDNESS = 0.03


@dataclass(frozen=True)
class Entry:
    """Adapters, by place in the bank, and images that they make alone or together."""

    adapters: tuple[int, ...]
    split: str
    images: tuple[tuple[Path, str], ...]  # with their prompts


@dataclass(frozen=True)
class Relevances:
    """How far prompts favour adapters, by their embeddings in one weight encoder's space."""

    encoder: WeightEncoder
    text_encoder: TextEncoder
    embeddings: Tensor  # (adapters, dim)
    sha256: str  # of the encoder's file

    @classmethod
    def of(cls, files: Sequence[Path], checkpoint: Path) -> "Relevances":
        encoder = load_encoder(checkpoint)
        embeddings = torch.from_numpy(encoder.encode(sketch_files(files, family=encoder.family)))
        text_encoder = load_text_encoder(encoder.text_encoder)
        return cls(encoder, text_encoder, embeddings, hash_file(checkpoint))

    def __call__(self, prompts: list[str], sets: Tensor) -> Tensor:
        """Return how far prompts favour the adapters of their sets (G, n): (prompts, n).

        As the registry has it: by parts of the prompt.
        """
        by_prompt = self.embeddings[sets].repeat_interleave(len(prompts) // len(sets), 0)
        rows = []
        for prompt, embeddings in zip(prompts, by_prompt, strict=True):
            texts = self.text_encoder.encode(texts_of(prompt))
            queries = torch.from_numpy(self.encoder.encode_query(texts))
            rows.append(relevance_of(queries @ embeddings.T))
        return torch.stack(rows)


def read_manifest(path: Path) -> tuple[list[Path], list[Entry]]:
    """Return the adapters' files, each once, and the entries.

    Raises:
        GateDataError: it is no such manifest, or a file is not there; says which.
        GatePictureError: a picture is none, or broken.
    """
    try:
        rows = json.loads(path.read_text())
        files = sorted({str(name) for row in rows for name in row["adapters"]})
        entries = [
            Entry(
                tuple(files.index(name) for name in row["adapters"]),
                row["split"],
                tuple(
                    (path.parent / image["file"], str(image["prompt"])) for image in row["images"]
                ),
            )
            for row in rows
        ]
    except (OSError, ValueError) as error:
        raise GateDataError(path, f"cannot be read: {error}") from error
    except KeyError as error:
        raise GateDataError(path, f"has an entry without {error}") from error
    except TypeError as error:
        raise GateDataError(path, "is no list of entries") from error
    for name in [
        *(path.parent / name for name in files),
        *(f for e in entries for f, _ in e.images),
    ]:
        if not name.exists():
            raise GateDataError(path, f"names {name}, which is not there")
    for picture in sorted({f for e in entries for f, _ in e.images}):
        with opened(picture) as image:
            # Decodes nothing, for there may be thousands; of a JPEG this looks at the header only.
            image.verify()
    for split in ("train", "validation"):
        single = [e for e in entries if e.split == split and len(e.adapters) == 1]
        if len(single) < max(SET_SIZES):
            raise GateDataError(path, f"has {counted(len(single), 'adapter')} to {split}; use more")
    if any(not entry.images or not entry.adapters for entry in entries):
        raise GateDataError(path, "has an entry without images or adapters")
    return [path.parent / name for name in files], entries


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Give a picture; whatever is found to be wrong with it meanwhile is our error.

    Raises:
        GatePictureError: it is none, or broken.
    """
    try:
        with Image.open(path) as image:
            yield image
    except BROKEN_IMAGE as error:
        raise GatePictureError(path, str(error)) from error


def read_picture(path: Path) -> Image.Image:
    with opened(path) as image:
        return image.convert("RGB")


class GateData:
    """Batches for `train_gates`, images encoded by the base's own parts."""

    def __init__(
        self,
        backend: PipelineBackend,
        files: Sequence[Path],
        entries: Sequence[Entry],
        *,
        sets: int,
        images: int,
        size: int,
        relevances: Relevances | None = None,
        seed: int = 0,
    ) -> None:
        """Take `sets` sets a batch with `images` images each, of `size` pixels a side."""
        self._backend = backend
        self._files = files
        self._bank = AdapterBank([read(path) for path in files], torch.float16)
        self._entries = entries
        self._sets, self._images, self._size = sets, images, size
        self._relevances, self._seed = relevances, seed

    def training(self, steps: int, rate: float, validate_every: int) -> GateTraining:
        """Return what `train_gates` takes."""
        rng = np.random.default_rng(self._seed)
        held = [self._draw(rng, "validation", size, VALIDATION_SETS) for size in SET_SIZES]
        if any(e.split == "validation" and len(e.adapters) > 1 for e in self._entries):
            held.append(self._draw(rng, "validation", 0, VALIDATION_SETS))
        return GateTraining(
            self._backend.transformer,
            self._bank,
            self._batch,
            steps,
            rate,
            held,
            validate_every,
            self._seed,
            self._digest(steps, rate),
        )

    def _digest(self, steps: int, rate: float) -> str:
        """Name what gates are trained on: by what is in files, wherever these lie."""
        entries = [
            (each.adapters, each.split, [(hash_file(path), said) for path, said in each.images])
            for each in self._entries
        ]
        facts = (
            (self._backend.base_model, self._backend.file_hashes()),
            self._relevances and self._relevances.sha256,
            [hash_file(path) for path in self._files],
            entries,
            (self._sets, self._images, self._size, self._seed),
            # How fast the rate falls depends on how many steps there are to be.
            (steps, rate),
        )
        return hashlib.sha256(repr(facts).encode()).hexdigest()

    def _batch(self, step: int) -> GateBatch:
        rng = np.random.default_rng((self._seed, step))
        together = any(e.split == "train" and len(e.adapters) > 1 for e in self._entries)
        if together and rng.random() < 0.5:
            return self._draw(rng, "train", 0, self._sets)
        size = int(rng.choice(list(SET_SIZES), p=list(SET_SIZES.values())))
        return self._draw(rng, "train", size, self._sets)

    def _draw(self, rng: np.random.Generator, split: str, size: int, count: int) -> GateBatch:
        """Draw sets of `size`, judged on images of the first; or, if 0, that work together."""
        entries = [e for e in self._entries if e.split == split]
        single = [e for e in entries if len(e.adapters) == 1]
        several = [e for e in entries if len(e.adapters) > 1]
        if size:
            drawn = [rng.choice(len(single), size, replace=False).tolist() for _ in range(count)]
            judged = [single[places[0]] for places in drawn]
            sets = [[single[k].adapters[0] for k in places] for places in drawn]
        else:
            # A batch has sets of one size.
            most = len(several[int(rng.integers(len(several)))].adapters)
            fitting = [e for e in several if len(e.adapters) == most]
            judged = [fitting[k] for k in rng.integers(len(fitting), size=count)]
            sets = [list(entry.adapters) for entry in judged]
        chosen = [
            entry.images[k]
            for entry in judged
            for k in rng.integers(len(entry.images), size=self._images)
        ]
        prompts = [prompt for _, prompt in chosen]
        pictures = [read_picture(path) for path, _ in chosen]
        latents, image_ids = self._backend.encode_images(pictures, self._size)
        tokens, pooled = self._backend.encode_prompts(prompts)
        places = torch.tensor(sets)
        return GateBatch(
            latents,
            tokens,
            pooled,
            image_ids,
            places,
            self._relevances(prompts, places) if self._relevances else None,
            self._relevances.embeddings[places] if self._relevances else None,
            1 if size else len(sets[0]),
            0.0 if size else BOLDNESS,
            None if size else "together",
        )


def describe(data: Sequence[Entry]) -> dict[str, Any]:
    """Return what the gates' file says of its data."""
    return {
        split: sum(len(entry.images) for entry in data if entry.split == split)
        for split in ("train", "validation")
    }
