"""Layers that tell what an adapter shows count more than those that do not."""

import numpy as np
import pytest

from encoder.arrays import Floats, Ints
from encoder.sketches.sketch import Layout, Sketch
from encoder.text_encoder import load_text_encoder
from encoder.training.concepts import LEAST_SHOWN, Gradients, fit_concepts
from encoder.training.layer_weights import learn_layer_weights
from encoder.weight_encoders.concepts import unit_layers

LAYOUT = Layout("test", ((32, 1), (32, 1)))
SIZES, NAMES = LAYOUT.sizes, 40


@pytest.fixture(scope="module")
def keys() -> Floats:
    return np.random.default_rng(0).normal(size=(NAMES, 64)).astype(np.float32)


def adapters_of(keys: Floats, count: int, seed: int) -> tuple[Floats, Ints]:
    """Draw adapters that follow their concept in the first layer and anything in the second."""
    rng = np.random.default_rng(seed)
    right = rng.integers(0, NAMES, count)
    features = rng.normal(size=(count, 64))
    features[:, :32] = keys[right, :32] + 0.7 * features[:, :32]
    features[:, 32:] *= 3
    return features.astype(np.float32), right


def found(keys: Floats, features: Floats, right: Ints) -> float:
    return float(((features @ keys.T).argmax(axis=1) == right).mean())


def test_a_layer_that_tells_nothing_hardly_counts(keys: Floats) -> None:
    features, right = adapters_of(keys, 600, seed=1)

    weights = learn_layer_weights(keys, features, right, SIZES)

    assert weights[0] > 2 * weights[1] > 0
    others, theirs = adapters_of(keys, 300, seed=2)
    weighed = keys * weights.repeat(SIZES)
    assert found(weighed, others, theirs) > found(keys, others, theirs) + 0.1


def test_weights_are_the_same_in_every_run(keys: Floats) -> None:
    features, right = adapters_of(keys, 200, seed=1)

    first, again = (learn_layer_weights(keys, features, right, SIZES) for _ in range(2))

    np.testing.assert_array_equal(first, again)


def test_adapters_that_show_one_thing_tell_which_layers_count(keys: Floats) -> None:
    rng = np.random.default_rng(3)
    halves = keys.repeat(2, axis=0) + 0.3 * rng.normal(size=(2 * NAMES, 64)).astype(np.float32)
    told = [[f"thing {number}"] for number in range(NAMES)]
    gradients = Gradients(told, unit_layers(keys, SIZES), unit_layers(halves, SIZES))
    features, right = adapters_of(keys, LEAST_SHOWN + 500, seed=4)
    others, theirs = adapters_of(keys, 300, seed=5)

    def share_found(shown: list[int | None]) -> float:
        sketches = [as_sketch(own) for own in features]
        concepts = fit_concepts(gradients, sketches, load_text_encoder(), 1.0, shown=shown)
        scores = concepts.scores([as_sketch(own) for own in others])
        return float((scores.argmax(axis=1) == theirs).mean())

    shown: list[int | None] = [gradients.place(f"thing {place}", 0) for place in right]
    few = [*shown[: LEAST_SHOWN - 1], *[None] * (len(shown) - LEAST_SHOWN + 1)]
    assert share_found(shown) > share_found([]) + 0.05
    # Too few say nothing, nor do those that show what is no concept.
    assert gradients.place("something else", 0) is None
    assert share_found(few) == share_found([]) == share_found([None] * len(shown))


def as_sketch(values: Floats) -> Sketch:
    every = np.ones(2, bool)
    return Sketch(LAYOUT, "test", values.astype(np.float16), np.zeros(2, np.float32), every)
