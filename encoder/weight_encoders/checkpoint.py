"""Encoders on disk: safetensors, with what they are and were measured at in the header."""

import json
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from safetensors.numpy import load_file, save_file

from crawler.whole_file import written_whole
from encoder.adapter.safetensors_header import read_header
from encoder.arrays import Floats
from encoder.errors import CheckpointError, LoraFileError
from encoder.weight_encoders.ridge import RidgeEncoder

# Annotations are all that they are used for: a search reads no sketch, and torch loads a network.
if TYPE_CHECKING:
    from encoder.sketches.sketch import Sketch
    from encoder.weight_encoders.autolora import AutoLoraEncoder

AnyEncoder: TypeAlias = "RidgeEncoder | AutoLoraEncoder"

FACTS = ("name", "base_model", "text_encoder", "sketch_version", "family")


class WeightEncoder(Hashable, Protocol):
    """Turns sketches and queries into unit vectors that compare by cosine."""

    @property
    def name(self) -> str: ...

    @property
    def base_model(self) -> str: ...

    @property
    def text_encoder(self) -> str:
        """Names the text encoder whose embeddings `encode_query` takes."""
        ...

    @property
    def sketch_version(self) -> str: ...

    @property
    def family(self) -> str:
        """Whose layers it reads."""
        ...

    @property
    def dim(self) -> int: ...

    @property
    def metrics(self) -> Mapping[str, Any]:
        """What it was measured at, and on which split."""
        ...

    def encode(self, sketches: Sequence["Sketch"]) -> Floats:
        """Return embeddings (n, dim), float32, each of length 1."""
        ...

    def encode_query(self, text_embeddings: Floats) -> Floats:
        """Map text embeddings (n, dim) into the same space, unit rows."""
        ...

    def encode_question(self, text_embeddings: Floats) -> Floats:
        """Map a question and its parts (1 + parts, dim) to one query (dim,), of length 1."""
        ...

    def encode_caption_query(self, text_embeddings: Floats) -> Floats:
        """Map text embeddings (n, dim) to unit rows, to compare with plain ones of captions.

        What captions of one adapter differ in then counts little: length, manner, language.
        """
        ...


def save_encoder(encoder: AnyEncoder, path: Path) -> None:
    """Write a checkpoint; a reader never sees half of it."""
    facts = {key: getattr(encoder, key) for key in FACTS}
    header = {
        "kind": encoder.kind,
        **facts,
        "metrics": dict(encoder.metrics),
        "details": encoder.details(),
    }
    arrays = {name: np.ascontiguousarray(array) for name, array in encoder.arrays().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as partial:
        save_file(arrays, partial, metadata={"encoder": json.dumps(header)})


def load_encoder(path: Path) -> AnyEncoder:
    """Load the encoder that a checkpoint holds.

    Raises:
        CheckpointError: the file is no checkpoint of ours, or damaged.
    """
    try:
        header = json.loads(read_header(path).metadata["encoder"])
        facts = {**{key: str(header[key]) for key in FACTS}, "metrics": dict(header["metrics"])}
        return _kind(header["kind"]).restore(facts, header["details"], load_file(path))
    except (LoraFileError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path.name} is no encoder's checkpoint: {error}") from error


def _kind(name: str) -> "type[RidgeEncoder] | type[AutoLoraEncoder]":
    """Return the encoders that a checkpoint's header names; KeyError for others.

    A network is loaded with torch, which takes seconds that a search by a ridge need not wait.
    """
    if name == RidgeEncoder.kind:
        return RidgeEncoder
    from encoder.weight_encoders.autolora import AutoLoraEncoder

    return {AutoLoraEncoder.kind: AutoLoraEncoder}[name]
