"""A question -> the embeddings of what weights are compared with: the whole, and its parts."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from encoder.text_encoder import TextEncoder, normalise
from registry.measures import timed
from registry.text.translations import in_english

# What a Chinese question says in English counts so much beside what it says: a dictionary knows
# words that the text encoder knows little of, and neither knows what they mean together. Chosen on
# validation (docs/benchmarks/wide.md).
ENGLISH_SHARE = np.float32(0.5)


def embed_heard(
    text: str,
    whole: npt.NDArray[np.float32],
    parts: Sequence[str],
    text_encoder: TextEncoder,
) -> npt.NDArray[np.float32]:
    """Return (1 + parts, dim), float32, unit rows; `whole` (dim,) is the embedding of `text`."""
    english = in_english(text)
    others = [*parts, *([english] if english else [])]
    if not others:
        return whole[None]
    with timed("encode"):
        embedded = text_encoder.encode(others)
    if english:
        whole = normalise((whole + ENGLISH_SHARE * embedded[-1])[None])[0]
    return np.concatenate([whole[None], embedded[: len(parts)]])
