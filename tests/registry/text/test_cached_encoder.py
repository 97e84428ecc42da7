"""Texts are remembered, and an embedding is the same to the bit in any company."""

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from encoder.text_encoder import DEFAULT_TEXT_ENCODER, TextEncoder, load_text_encoder
from registry.text.cached_encoder import LONGEST_KEPT, MOST_ALONE, CachedTextEncoder

TEXTS = ("a red heart", "in blue polka dot texture", "一只狐狸", "fox")


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return load_text_encoder(DEFAULT_TEXT_ENCODER)


def test_a_text_is_encoded_as_if_it_were_alone(encoder: TextEncoder) -> None:
    """Whatever was asked before or beside it: else an image drawn again would not be the same."""
    alone = {text: encoder.encode([text])[0] for text in TEXTS}
    assert any(
        (row != alone[text]).any() for text, row in zip(TEXTS, encoder.encode(TEXTS), strict=True)
    )

    for order in itertools.permutations(TEXTS):
        cached = CachedTextEncoder(encoder)
        for asked in (order[:2], order[1:], order):
            expected = np.stack([alone[text] for text in asked])
            np.testing.assert_array_equal(cached.encode(asked), expected)


def test_many_texts_are_encoded_together_and_not_remembered(encoder: TextEncoder) -> None:
    """They are captions to be stored; a prompt with the same words is encoded by itself."""
    cached = CachedTextEncoder(encoder)
    many = [*TEXTS, *(f"caption {number}" for number in range(MOST_ALONE))]

    np.testing.assert_array_equal(cached.encode(many), encoder.encode(many))
    np.testing.assert_array_equal(cached.encode(TEXTS[:1]), encoder.encode(TEXTS[:1]))


class Listening(TextEncoder):
    """Keeps what it was asked for."""

    name, dim = "listening", 1

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        self.asked += texts
        return np.zeros((len(texts), self.dim), np.float32)


def test_a_long_text_is_not_remembered() -> None:
    """A thousand of those that may be asked would take tens of MB."""
    listening = Listening()
    cached = CachedTextEncoder(listening)
    short, long = LONGEST_KEPT * "x", (LONGEST_KEPT + 1) * "x"

    for text in (short, long, short, long):
        cached.encode([text])

    assert listening.asked == [short, long, long]
