"""Encoders as they are asked: adapters' embeddings, and texts that become queries beside them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.retrieval.zoo import Space
from encoder.arrays import Floats
from encoder.text_encoder import load_text_encoder
from encoder.weight_encoders.ridge import RidgeEncoder
from registry.retrieval.heard_texts import embed_heard
from registry.text.question_parts import parts_of

Ask = Callable[[Sequence[str]], Floats]


@dataclass(frozen=True)
class Encoded:
    """Embeddings of adapters (n, dim), and what makes queries (m, dim) of m texts."""

    embeddings: Floats
    ask: Ask


def in_one(space: Space) -> Encoded:
    """Ask with each text as a whole."""
    text_encoder = load_text_encoder()
    return Encoded(space.embeddings, lambda texts: space.project(text_encoder.encode(texts)))


def in_parts(embeddings: Floats, encoder: RidgeEncoder) -> Encoded:
    """Ask with a text and its parts, as search does once it has left out what only asks."""
    text_encoder = load_text_encoder()

    def query(text: str) -> Floats:
        whole = text_encoder.encode([text])[0]
        return encoder.encode_question(embed_heard(text, whole, parts_of(text), text_encoder))

    return Encoded(embeddings, lambda texts: np.stack([query(text) for text in texts]))
