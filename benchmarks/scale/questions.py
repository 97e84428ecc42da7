"""What is asked of a gallery, under which filters, and what an exact search would answer."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from benchmarks.scale.filling import ENCODER, TEXT_ENCODER
from benchmarks.scale.gallery import BATCH, Batch, Gallery, author_name
from encoder.arrays import Bools, Floats, Ints
from registry.db.models import EMBEDDING_DIM
from registry.retrieval.encoder_spaces import ServingEncoder, Space
from registry.retrieval.filters import Filters
from registry.retrieval.terms import Signal

FIRST = 10
AUTHOR = 7


@dataclass(frozen=True, slots=True)
class Narrowing:
    """A filter, and which adapters of a batch it leaves."""

    share: str
    filters: Filters
    leaves: Callable[[Batch], Bools]


NARROWINGS = (
    Narrowing("all", Filters(), lambda batch: np.ones(len(batch.names), bool)),
    Narrowing(
        "50 %",
        Filters(licences=("apache-2.0",)),
        lambda batch: np.array(batch.licences) == "apache-2.0",
    ),
    Narrowing(
        "20 %",
        Filters(base_models=("flux.1-dev",), variants=False),
        lambda batch: np.array(batch.base_models) == "flux.1-dev",
    ),
    Narrowing("5 %", Filters(tags=("half",)), lambda batch: _have(batch, "half")),
    Narrowing("1 %", Filters(tags=("percent",)), lambda batch: _have(batch, "percent")),
    Narrowing("0.1 %", Filters(tags=("permille",)), lambda batch: _have(batch, "permille")),
    Narrowing(
        "0.01 %", Filters(authors=(author_name(AUTHOR),)), lambda batch: batch.authors == AUTHOR
    ),
)


def _have(batch: Batch, tag: str) -> Bools:
    return np.array([tag in tags for tags in batch.tags])


@dataclass(frozen=True, eq=False)
class Questions:
    """Texts and their embeddings (n, dim), which stand in for a text encoder."""

    texts: list[str]
    embeddings: Floats
    name: str = TEXT_ENCODER
    dim: int = EMBEDDING_DIM

    def encode(self, texts: Sequence[str]) -> Floats:
        return np.stack([self._embed(text) for text in texts])

    def _embed(self, text: str) -> Floats:
        """Return a question's embedding; any for the texts that a search compares it with."""
        if text in self.texts:
            return np.asarray(self.embeddings[self.texts.index(text)])
        drawn = np.random.default_rng(list(text.encode())).normal(size=self.dim)
        return np.asarray(drawn / np.linalg.norm(drawn), np.float32)


class AsIs:
    """A weight encoder in whose space texts lie where they are."""

    def encode_query(self, embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return embeddings

    def encode_question(self, embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.asarray(embeddings[0])

    def encode_caption_query(self, embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return embeddings


# One encoder for all base models: the largest index that a question can meet.
SPACES = [Space(ServingEncoder(ENCODER, AsIs()))]


def draw_questions(gallery: Gallery, count: int) -> Questions:
    """Return questions about adapters of the first batch, of six kinds in turn."""
    batch = gallery.batch(0)
    rng = np.random.default_rng([gallery.seed, 5])
    chosen = rng.choice(BATCH, count, replace=False).tolist()
    texts = [text for place, text in zip(chosen, _texts(batch, chosen), strict=True)]
    return Questions(texts, batch.questions[chosen])


def _texts(batch: Batch, chosen: Sequence[int]) -> Iterator[str]:
    """Yield a word, a name, a sentence, a word with a typo, an author, or a tag and a word."""
    for number, place in enumerate(chosen):
        name = batch.names[place]
        word = max(name.split(), key=len)
        kinds = (
            word,
            name,
            " ".join(batch.descriptions[place].split()[:8]),
            word[:2] + word[3:],
            author_name(int(batch.authors[place])),
            f"{batch.tags[place][0]} {word}",
        )
        # A number behind it keeps questions apart, and is a word that nobody uses.
        yield f"{kinds[number % len(kinds)]} {number}"


@dataclass
class Nearest:
    """The nearest adapters to each question so far: similarities and ids, (questions, FIRST)."""

    similarities: Floats
    ids: Ints = field(init=False)

    def __post_init__(self) -> None:
        self.ids = np.zeros(self.similarities.shape, np.int64)

    def add(self, similarities: Floats, ids: Ints) -> None:
        """Consider more adapters: similarities (questions, n), ids (n,)."""
        everything = np.concatenate([self.similarities, similarities], axis=1)
        all_ids = np.concatenate([self.ids, np.broadcast_to(ids, similarities.shape)], axis=1)
        best = np.argsort(-everything, axis=1, kind="stable")[:, :FIRST]
        self.similarities = np.take_along_axis(everything, best, axis=1)
        self.ids = np.take_along_axis(all_ids, best, axis=1)


def exact_answers(
    gallery: Gallery, adapters: int, questions: Questions
) -> dict[tuple[str, Signal], list[set[int]]]:
    """Return the ids of the nearest by each filter's share and signal, for every question."""
    shape = (len(questions.texts), FIRST)
    signals: tuple[Signal, ...] = ("weights", "captions")
    nearest = {
        (narrowing.share, signal): Nearest(np.full(shape, -np.inf, np.float32))
        for narrowing in NARROWINGS
        for signal in signals
    }
    for number in range(-(-adapters // BATCH)):
        batch = gallery.batch(number, min(BATCH, adapters - number * BATCH))
        ids = np.array(batch.ids)
        for signal in signals:
            vectors = batch.weights if signal == "weights" else batch.captions
            similarities = questions.embeddings @ vectors.T
            for narrowing in NARROWINGS:
                left = narrowing.leaves(batch)
                nearest[narrowing.share, signal].add(similarities[:, left], ids[left])
    return {
        key: [set(row[row > 0].tolist()) for row in found.ids] for key, found in nearest.items()
    }
