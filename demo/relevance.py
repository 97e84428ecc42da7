"""How far prompts favour adapters, as an encoder sees it that was not trained on them.

An encoder is surer of the adapters that it was trained on than of any that come later, and
gates trained on such numbers would trust it too much. So training adapters are embedded by
encoders of which each was trained on the others (four folds); the rest by the shipped one.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crawler.hashed_file import hash_file
from demo.paths import BUILD
from demo.train_encoder import add_more, load_dataset
from encoder.sketches.sketch import Sketch
from encoder.text_encoder import TextEncoder
from encoder.training.train import (
    SketchedAdapters,
    encode_captions,
    fit_ridge_to_sketches,
    sketch_files,
)
from encoder.weight_encoders.checkpoint import AnyEncoder, load_encoder
from registry.fusion.relevance import relevance_of
from registry.text.prompt_phrases import texts_of

FOLDS, SEED = 4, 5


@dataclass
class Relevance:
    """Embeddings of the zoo's adapters by their concept's key, and the queries' side."""

    encoder: AnyEncoder
    text_encoder: TextEncoder
    embeddings: dict[str, Tensor]
    _queries: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def load(cls, text_encoder: TextEncoder, folder: Path = BUILD) -> "Relevance":
        """Embed all adapters, or take what was kept of the same encoder."""
        path = folder / "encoder.safetensors"
        kept = folder / f"relevance-{hash_file(path)[:12]}.npz"
        encoder = load_encoder(path)
        if not kept.exists():
            keys, rows = unseen_embeddings(encoder, text_encoder, folder)
            np.savez(kept, keys=keys, embeddings=rows)
        arrays = np.load(kept)
        embeddings = dict(zip(arrays["keys"], torch.from_numpy(arrays["embeddings"]), strict=True))
        return cls(encoder, text_encoder, {str(k): e for k, e in embeddings.items()})

    def of(self, prompts: list[str], keys: list[list[str]]) -> Tensor:
        """Return how far prompts favour each of their n adapters, by key: (prompts, n).

        As the registry has it: by parts of the prompt.
        """
        parts = {prompt: texts_of(prompt) for prompt in set(prompts)}
        unknown = sorted({text for own in parts.values() for text in own} - self._queries.keys())
        if unknown:
            queries = self.encoder.encode_query(self.text_encoder.encode(unknown))
            self._queries |= dict(zip(unknown, torch.from_numpy(queries), strict=True))
        rows = []
        for prompt, own in zip(prompts, keys, strict=True):
            asked = torch.stack([self._queries[text] for text in parts[prompt]])
            rows.append(relevance_of(asked @ torch.stack([self.embeddings[key] for key in own]).T))
        return torch.stack(rows)


def unseen_embeddings(
    encoder: AnyEncoder, text_encoder: TextEncoder, folder: Path
) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.float32]]:
    """Return the keys (adapters,) and the embeddings (adapters, dim) of the whole zoo."""
    zoo = load_dataset(folder / "zoo")
    dataset = add_more(zoo, folder / "more/manifest.json")
    sketches = sketch_files(dataset.paths)
    captions = encode_captions(dataset.captions, text_encoder)
    embeddings = encoder.encode(sketches)
    train = np.array(dataset.indices("train"))
    for other, left in unseen_encoders(
        encoder, [sketches[i] for i in train], [captions[i] for i in train]
    ):
        embeddings[train[left]] = other.encode([sketches[i] for i in train[left]])
    listing = json.loads((folder / "zoo/listing.json").read_text())
    keys = np.array([entry["_key"] for entry in listing])
    return keys, embeddings[: len(keys)]


def unseen_encoders(
    encoder: AnyEncoder, sketches: Sequence[Sketch], captions: Sequence[npt.NDArray[np.float32]]
) -> Iterator[tuple[AnyEncoder, npt.NDArray[np.int64]]]:
    """Train `encoder` anew without each fold of training adapters; yield it with the fold."""
    fold = np.random.default_rng(SEED).permutation(len(sketches)) % FOLDS
    for k in range(FOLDS):
        seen = np.flatnonzero(fold != k)
        adapters = SketchedAdapters(
            [sketches[int(i)] for i in seen], [captions[int(i)] for i in seen]
        )
        other = fit_ridge_to_sketches(
            adapters,
            name="fold",
            base_model=encoder.base_model,
            text_encoder=encoder.text_encoder,
        )
        yield other, np.flatnonzero(fold == k)
