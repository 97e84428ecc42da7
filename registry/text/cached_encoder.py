"""Texts asked again need not be encoded again."""

import threading
from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache

from encoder.text_encoder import TextEncoder, load_text_encoder
from registry.measures import asked

# 2 KB each, and the text. People page, filter and fuse with the words they just searched for.
CAPACITY = 1024
# In characters, as search fields take: what is longer is pasted once, and takes much room.
LONGEST_KEPT = 2000
# More texts at once are no question: they are encoded together, which is quicker, and forgotten.
MOST_ALONE = 32


@cache
def load_cached_text_encoder(name: str) -> "CachedTextEncoder":
    """Load a text encoder once a process, however many registries are opened in it."""
    return CachedTextEncoder(load_text_encoder(name))


class CachedTextEncoder:
    """A text encoder that remembers the texts it was asked for last.

    Texts of a question or a prompt are encoded each by itself: beside others sums are made in
    another order, and an image drawn again would not be the same to the bit.
    """

    def __init__(self, encoder: TextEncoder, capacity: int = CAPACITY) -> None:
        self._encoder = encoder
        self._known: LRUCache[str, npt.NDArray[np.float32]] = LRUCache(capacity)
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return self._encoder.name

    @property
    def dim(self) -> int:
        return self._encoder.dim

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        if not texts:
            return np.empty((0, self.dim), np.float32)
        # Held while encoding too: the bundled encoder is not made for threads.
        with self._lock:
            unknown = [text for text in dict.fromkeys(texts) if text not in self._known]
            asked("text", hits=len(texts) - len(unknown), misses=len(unknown))
            fresh = dict(zip(unknown, self._encode(unknown), strict=True))
            rows = [fresh[text] if text in fresh else self._known[text] for text in texts]
            if len(unknown) <= MOST_ALONE:
                self._known.update({t: row for t, row in fresh.items() if len(t) <= LONGEST_KEPT})
        return np.stack(rows)

    def _encode(self, texts: Sequence[str]) -> Iterable[npt.NDArray[np.float32]]:
        if len(texts) > MOST_ALONE:
            return self._encoder.encode(texts)
        return [self._encoder.encode([text])[0] for text in texts]
