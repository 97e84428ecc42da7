"""A picture that somebody brings -> what is compared of it, and what it says of itself."""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from crawler.covers import difference_hash, on_white, upright
from crawler.pictures.adapters import NamedAdapter, adapters_named
from crawler.pictures.prompt import prompt_of
from crawler.pictures.settings import DrawnWith, drawn_with
from crawler.pictures.texts import PictureTexts, texts_of

# What models that look at pictures are given; they look at 224 to 512 pixels themselves.
SIDE = 768
# Cells of a side by which colours are compared.
CELLS = 8

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Told:
    """What a picture, or a recipe without one, says of how it was made."""

    named: tuple[NamedAdapter, ...]
    prompt: str
    drawn_with: DrawnWith

    @classmethod
    def by(cls, texts: PictureTexts) -> "Told":
        return cls(adapters_named(texts), prompt_of(texts), drawn_with(texts))


@dataclass(frozen=True, slots=True)
class ReadPicture:
    """What a picture says, and what it looks like: `image` is RGB, at most SIDE wide and high."""

    sha256: str  # of its bytes
    told: Told
    phash: int
    image: Image.Image

    @property
    def colours(self) -> Floats:
        return colours_of(self.image)


def read_picture(data: bytes) -> ReadPicture:
    """Read a picture; nothing of it is kept.

    Raises:
        CoverError: no image, or one too large or too small; the message says what it is.
    """
    with upright(data) as image:
        texts = texts_of(image)
        phash = difference_hash(image)
        small = on_white(image).convert("RGB")
        small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return ReadPicture(
        hashlib.sha256(data).hexdigest(),
        Told.by(texts),
        phash,
        small,
    )


def colours_of(image: Image.Image) -> Floats:
    """Return a picture's mean colours (CELLS, CELLS, 3), 0..1."""
    small = on_white(image).convert("RGB").resize((CELLS, CELLS), Image.Resampling.BOX)
    colours: Floats = np.asarray(small, np.float32) / np.float32(255)
    return colours


def colour_difference(one: Floats, other: Floats) -> float:
    """Return how much colours differ, 0..1, beyond one picture's being brighter as a whole."""
    means = max(float(one.mean()), 1e-3), max(float(other.mean()), 1e-3)
    return float(np.abs(one / means[0] - other / means[1]).mean()) * min(means)
