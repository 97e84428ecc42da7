"""Questions that say what is wanted and how it is to be drawn."""

from dataclasses import replace

import numpy as np
import pytest

from encoder.arrays import Floats
from encoder.text_encoder import load_text_encoder, normalise
from encoder.training.what_and_how import learn_what_and_how
from encoder.weight_encoders.what_and_how import WhatAndHow

THINGS = ["cat", "stopwatch", "castle", "apple", "bicycle", "whale", "猫", "秒表", "城堡", "苹果"]
LOOKS = [
    "thin black line icon", "solid black silhouette", "flat colour drawing", "blue neon glow",
    "watercolour painting", "pixel art", "黑色细线图标", "黑色实心图标", "扁平彩色图标", "蓝色霓虹",
]  # fmt: skip
DIM = 16


@pytest.fixture
def embeddings() -> Floats:
    """Adapters that differ ten times as much along the first axis as along others."""
    drawn = np.random.default_rng(0).normal(size=(400, 512)).astype(np.float32)
    drawn[:, 0] *= 10
    return drawn


@pytest.fixture
def heard(embeddings: Floats) -> WhatAndHow:
    return learn_what_and_how(THINGS, LOOKS, load_text_encoder(), embeddings)


def test_looks_are_told_from_things(heard: WhatAndHow) -> None:
    encode = load_text_encoder().encode
    assert heard.says_how(encode(["dotted line icon", "oil painting", "像素图标"])).all()
    assert not heard.says_how(encode(["dog", "hammer", "狗", "房子"])).any()


def test_deviations_are_those_of_the_adapters(heard: WhatAndHow, embeddings: Floats) -> None:
    axes = np.eye(512, dtype=np.float32)[:2]
    wanted = (embeddings @ axes.T).std(axis=0)
    # All but the strongest directions are taken as alike.
    np.testing.assert_allclose(heard.deviations(axes), wanted, rtol=0.2)


def own_rule() -> WhatAndHow:
    """Texts say how along axis 1; adapters differ by axis 3 ten times as much as by others."""
    axes = np.eye(DIM, dtype=np.float32)
    return WhatAndHow(axes[1], 0.5, axes[3:4] * np.sqrt(99).astype(np.float32), 1.0)


def test_what_and_how_count_by_how_much_adapters_differ() -> None:
    axes = np.eye(DIM, dtype=np.float32)
    texts = axes[[0, 1]]
    whole = normalise((0.1 * axes[2] + axes[3])[None])

    found = own_rule().join(np.concatenate([whole, axes[[2, 3]]]), texts)

    assert np.linalg.norm(found) == pytest.approx(1)
    # The thing, axis 2, hardly counted in the whole.
    assert whole[0, 2] < 0.1
    assert found[2] / found[3] > 4


def test_what_says_only_what_or_only_how_stays_whole() -> None:
    axes = np.eye(DIM, dtype=np.float32)
    queries = axes[[4, 2, 3]]
    for texts in (axes[[0, 2]], axes[[1, 1]]):
        np.testing.assert_array_equal(own_rule().join(queries, texts), queries[0])


def test_several_parts_of_an_aspect_count_as_one() -> None:
    axes = np.eye(DIM, dtype=np.float32)
    once = own_rule().join(axes[[4, 2, 3]], axes[[0, 1]])
    twice = own_rule().join(axes[[4, 2, 2, 3]], axes[[0, 0, 1]])
    np.testing.assert_allclose(once, twice, atol=1e-6)


def test_what_and_how_are_taken_for_what_is_heard_of_them() -> None:
    axes = np.eye(DIM, dtype=np.float32)
    heard = own_rule().join(axes[[4, 2, 3]], axes[[0, 1]], lambda aspects: axes[[5, 6]])

    assert not heard[[2, 3]].any()
    assert (heard[[4, 5, 6]] > 0).all()


def test_a_checkpoint_keeps_it(heard: WhatAndHow) -> None:
    again = WhatAndHow.restore(heard.arrays())
    assert again is not None
    queries = normalise(np.random.default_rng(1).normal(size=(3, 512)).astype(np.float32))
    texts = load_text_encoder().encode(["dog", "thin black line icon"])
    np.testing.assert_allclose(again.join(queries, texts), heard.join(queries, texts), atol=1e-3)
    assert WhatAndHow.restore({}) is None
    other = replace(again, threshold=again.threshold + 0.1)
    assert not np.array_equal(other.arrays()["how_numbers"], again.arrays()["how_numbers"])
