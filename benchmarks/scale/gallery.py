"""Made-up adapters by the million: words, numbers and vectors, drawn anew for any of them.

Nothing is kept: the same seed draws the same batch, so that memory does not grow with their number.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from encoder.arrays import Doubles, Floats
from registry.db.models import EMBEDDING_DIM
from registry.text.translations import dictionary
from registry.text.word_segmentation import IS_HAN, STOP_WORDS, chinese_tokens, singular

BATCH = 10_000
# What adapters are about has so many dimensions; the rest of a vector is noise.
INTRINSIC_DIM = 32
TOPICS = 3_000
# How far an adapter lies from its topic's centre, and its weights, captions and questions about
# it from each other, each against the distance of topics.
WITHIN_TOPIC, BETWEEN_SIGNALS, NOISE = 0.7, 0.35, 0.3
WORDS = 300_000
AUTHORS = 9_000
# Every fifth word is Chinese. The dictionary has some 30,000 English words; names that are none
# have two to five syllables.
CHINESE = 0.2
SYLLABLES = [first + vowel for first in "kmtvdspgbnflrzw" for vowel in ("a", "o", "en", "ir")]
# (value, share of adapters)
LICENCES = (("apache-2.0", 0.5), ("mit", 0.2), ("cc-by-4.0", 0.15), ("openrail", 0.15))
BASE_MODELS = (
    ("sdxl-1.0", 0.4),
    ("sd-1.5", 0.25),
    ("flux.1-dev", 0.2),
    ("qwen-image", 0.1),
    ("z-image", 0.05),
)
TRAINERS = (("kohya", 0.7), ("ai-toolkit", 0.2), ("diffusers", 0.1))
# Tags whose shares are known; each is borne independently of everything else.
KNOWN_TAGS = (("half", 0.05), ("percent", 0.01), ("permille", 0.001))


@dataclass(frozen=True, slots=True)
class Batch:
    """Some adapters, in the order of their ids; arrays and lists in parallel."""

    first_id: int
    names: list[str]
    descriptions: list[str]
    tags: list[list[str]]
    authors: npt.NDArray[np.int64]
    licences: list[str]
    base_models: list[str]
    trainers: list[str]
    ranks: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    downloads: npt.NDArray[np.int64]
    ages: npt.NDArray[np.int64]  # days
    weights: Floats  # (n, dim), of length 1, as stored
    captions: Floats
    # What a person would ask for each of them.
    questions: Floats

    @property
    def ids(self) -> range:
        return range(self.first_id, self.first_id + len(self.names))


@dataclass(frozen=True)
class Gallery:
    """All adapters of a seed."""

    seed: int

    @cached_property
    def vocabulary(self) -> npt.NDArray[np.str_]:
        """Return all words, the most frequent first."""
        rng = np.random.default_rng([self.seed, 1])
        words = dictionary()
        # Those that are stored as one word, and asked for as one.
        whole = [
            word for word in words["likes"]
            if IS_HAN.match(word) and len(word) > 1 and chinese_tokens(word) == [word]
        ]  # fmt: skip
        small = (word for word, is_small in words["english"].items() if is_small)
        english = [word for word in small if word == singular(word) and word not in STOP_WORDS]
        drawn = iter(rng.permutation(whole).tolist()), iter(rng.permutation(english).tolist())
        found: dict[str, None] = {}
        while len(found) < WORDS:
            made_up = "".join(rng.choice(SYLLABLES, rng.integers(2, 6)).tolist())
            found[next(drawn[rng.random() >= CHINESE], made_up)] = None
        return np.array(list(found))

    @cached_property
    def _frequencies(self) -> Doubles:
        # Zipf's law as Mandelbrot has it: the first words are in a third of all descriptions.
        shares = (np.arange(WORDS) + 20.0) ** -1.07
        return np.cumsum(shares / shares.sum())

    @cached_property
    def _projection(self) -> Doubles:
        rng = np.random.default_rng([self.seed, 2])
        shape = (INTRINSIC_DIM, EMBEDDING_DIM)
        return np.asarray(rng.normal(size=shape) / np.sqrt(EMBEDDING_DIM))

    @cached_property
    def _topics(self) -> Doubles:
        return np.random.default_rng([self.seed, 3]).normal(size=(TOPICS, INTRINSIC_DIM))

    def batch(self, number: int, size: int = BATCH) -> Batch:
        """Return the adapters with the ids from `number` * BATCH + 1 on."""
        rng = np.random.default_rng([self.seed, 4, number])
        lengths = rng.integers(2, 5, BATCH), rng.integers(8, 40, BATCH)
        names, descriptions = (self._texts(rng, own)[:size] for own in lengths)
        topic = np.minimum(rng.zipf(1.2, BATCH), TOPICS) - 1
        meant = self._topics[topic] + WITHIN_TOPIC * rng.normal(size=(BATCH, INTRINSIC_DIM))
        weights, captions, questions = (self._embed(rng, meant)[:size] for _ in range(3))
        return Batch(
            first_id=number * BATCH + 1,
            names=names,
            descriptions=descriptions,
            tags=self._tags(rng)[:size],
            authors=rng.integers(AUTHORS, size=BATCH)[:size],
            licences=self._values(rng, LICENCES)[:size],
            base_models=self._values(rng, BASE_MODELS)[:size],
            trainers=self._values(rng, TRAINERS)[:size],
            ranks=(2 ** rng.integers(2, 8, BATCH))[:size],
            sizes=rng.lognormal(18, 1, BATCH).astype(np.int64)[:size],
            downloads=rng.lognormal(5, 2, BATCH).astype(np.int64)[:size],
            ages=rng.integers(1000, size=BATCH)[:size],
            weights=weights,
            captions=captions,
            questions=questions,
        )

    def _texts(self, rng: np.random.Generator, lengths: npt.NDArray[np.int64]) -> list[str]:
        drawn = np.searchsorted(self._frequencies, rng.random(int(lengths.sum())))
        words = self.vocabulary[np.minimum(drawn, WORDS - 1)].tolist()
        ends = np.cumsum(lengths).tolist()
        return [" ".join(words[i:j]) for i, j in zip([0, *ends], ends, strict=False)]

    def _tags(self, rng: np.random.Generator) -> list[list[str]]:
        tags = [[f"tag{n}" for n in own] for own in np.minimum(rng.zipf(1.5, (BATCH, 3)), 5000)]
        for name, share in KNOWN_TAGS:
            for place in np.flatnonzero(rng.random(BATCH) < share):
                tags[place].append(name)
        return tags

    def _values(
        self, rng: np.random.Generator, choices: tuple[tuple[str, float], ...]
    ) -> list[str]:
        names, shares = zip(*choices, strict=True)
        values: list[str] = rng.choice(names, BATCH, p=shares).tolist()
        return values

    def _embed(self, rng: np.random.Generator, meant: Doubles) -> Floats:
        told = meant + BETWEEN_SIGNALS * rng.normal(size=meant.shape)
        vectors = told @ self._projection
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        noise = rng.normal(size=vectors.shape) / np.sqrt(EMBEDDING_DIM)
        vectors += NOISE * length * noise
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors.astype(np.float16).astype(np.float32)


def as_stored(text: str) -> str:
    """Return words of the vocabulary as `segment` would: of Chinese ones the signs follow."""
    return " ".join(
        " ".join([word, *word]) if IS_HAN.match(word) else word for word in text.split()
    )


def author_name(number: int) -> str:
    return f"author{number}"


def file_hash(adapter_id: int) -> str:
    return hashlib.sha256(b"file %d" % adapter_id).hexdigest()


def caption_of(adapter_id: int) -> str:
    return f"caption {adapter_id}"
