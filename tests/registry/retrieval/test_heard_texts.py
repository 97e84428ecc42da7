"""What of a question weights are compared with."""

import numpy as np

from encoder.text_encoder import load_text_encoder
from registry.retrieval.heard_texts import embed_heard
from tests.builders import TEXT_ENCODER


def test_a_chinese_question_counts_with_its_words_in_english() -> None:
    encoder = load_text_encoder(TEXT_ENCODER)
    chinese, english = encoder.encode(["黑色剪影", "black silhouette"])

    (heard,) = embed_heard("黑色剪影", chinese, [], encoder)

    np.testing.assert_allclose(np.linalg.norm(heard), 1, rtol=1e-5)
    assert chinese @ english < heard @ english < 1
    assert heard @ chinese > heard @ english


def test_an_english_question_is_heard_as_it_is_and_each_part_with_it() -> None:
    encoder = load_text_encoder(TEXT_ENCODER)
    question, parts = "draw a fox so: thin black lines", ["a fox", "thin black lines"]
    whole = encoder.encode([question])[0]

    heard = embed_heard(question, whole, parts, encoder)

    np.testing.assert_array_equal(heard, np.concatenate([whole[None], encoder.encode(parts)]))


def test_parts_of_a_chinese_question_are_heard_as_they_are() -> None:
    encoder = load_text_encoder(TEXT_ENCODER)
    whole, *parts = encoder.encode(["狐狸：黑色剪影", "狐狸", "黑色剪影"])

    heard = embed_heard("狐狸：黑色剪影", whole, ["狐狸", "黑色剪影"], encoder)

    assert len(heard) == 3
    np.testing.assert_allclose(heard[1:], parts, atol=1e-5)
