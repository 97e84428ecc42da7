"""Keys and words of concepts from gradients, and adapters found by them."""

import json

import numpy as np
import pytest

from encoder.arrays import Floats
from encoder.sketches.sketch import Layout, Sketch
from encoder.text_encoder import load_text_encoder
from encoder.training.concepts import Gradients, Whitener, fit_concepts, fit_looks
from encoder.weight_encoders.concepts import Concepts, unit_layers

LAYOUT = Layout("test", ((32, 2), (16, 2)))
VALUES = int(LAYOUT.sizes.sum())
TOLD = [["a castle", "城堡"], ["a red apple", "苹果"], ["rain"], ["a violin", "小提琴"]]


def test_whitening_in_the_kernel_is_that_by_the_covariance() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(9, 20)).astype(np.float32) * np.linspace(0.2, 3, 20, dtype=np.float32)
    own = rng.normal(size=(4, 20)).astype(np.float32)

    whitened = Whitener.fit(rows, damping=0.5).apply(own)

    centred = (rows - rows.mean(axis=0)).astype(np.float64)
    scatter = centred.T @ centred
    # As much as the mean energy of a row, times the damping.
    damped = scatter + 0.5 * np.trace(scatter) / len(rows) * np.eye(20)
    energies, axes = np.linalg.eigh(damped)
    np.testing.assert_allclose(whitened, own @ (axes / np.sqrt(energies)) @ axes.T, atol=2e-4)


@pytest.fixture(scope="module")
def directions() -> Floats:
    """What every concept does to the weights."""
    rng = np.random.default_rng(1)
    return rng.normal(size=(len(TOLD), VALUES)).astype(np.float32)


def as_sketch(values: Floats, mask: tuple[bool, bool] = (True, True)) -> Sketch:
    return Sketch(
        LAYOUT, "test", values.astype(np.float16), np.zeros(2, np.float32), np.array(mask)
    )


@pytest.fixture(scope="module")
def gradients(directions: Floats, tmp_path_factory: pytest.TempPathFactory) -> Gradients:
    """Read bags that share much and vary, two files of two concepts each."""
    folder, rng = tmp_path_factory.mktemp("gradients"), np.random.default_rng(2)
    common = 3 * rng.normal(size=VALUES)
    for start in (0, 2):
        own = directions[start : start + 2]
        bags = own + common + rng.normal(size=(4, 2, VALUES))
        largest = np.abs(bags).max(axis=(0, 2), keepdims=True)
        path = folder / "names" / f"0-{start}.npz"
        path.parent.mkdir(exist_ok=True)
        told = json.dumps(TOLD[start : start + 2])
        np.savez(path, values=(bags / largest).astype(np.float16), scale=largest, told=told)
    return Gradients.load([folder / "names"], LAYOUT.sizes)


@pytest.fixture(scope="module")
def concepts(gradients: Gradients, directions: Floats) -> Concepts:
    rng = np.random.default_rng(3)
    trained = directions[[0, 1, 2, 3]] + rng.normal(size=(4, VALUES)).astype(np.float32)
    sketches = [as_sketch(own) for own in trained]
    return fit_concepts(gradients, sketches, load_text_encoder(), columns=0.5)


def test_gradients_keep_their_words_and_count_every_layer_alike(gradients: Gradients) -> None:
    assert gradients.told == TOLD
    first = gradients.values[:, : LAYOUT.sizes[0]]
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, atol=1e-5)
    assert gradients.halves.shape == (2 * len(TOLD), VALUES)


def test_an_adapter_is_most_like_its_own_concept(concepts: Concepts, directions: Floats) -> None:
    rng = np.random.default_rng(4)
    adapters = [as_sketch(own + 0.5 * rng.normal(size=VALUES)) for own in directions]

    scores = concepts.scores(adapters)

    assert scores.argmax(axis=1).tolist() == [0, 1, 2, 3]


def test_a_look_is_known_whatever_it_shows() -> None:
    """Halves of a look show other things, which differ as much as looks do."""
    rng = np.random.default_rng(6)
    own, things = rng.normal(size=(24, VALUES)), rng.normal(size=(2, VALUES))

    def shown(look: Floats) -> Floats:
        return (look + rng.normal(size=2) @ things).astype(np.float32)

    parts = np.stack([shown(look) for look in own for _ in range(2)])
    values = unit_layers(parts[::2] + parts[1::2], LAYOUT.sizes)
    told = [[f"look {number}"] for number in range(len(own))]
    gradients = Gradients(told, values, unit_layers(parts, LAYOUT.sizes))
    means = [as_sketch(values.mean(axis=0))]
    drawn = [as_sketch(shown(look)) for look in own]

    nearest = [
        fit(gradients, means, load_text_encoder(), 1.0).scores(drawn).argmax(axis=1)
        for fit in (fit_looks, fit_concepts)
    ]
    right = [int((found == np.arange(len(own))).sum()) for found in nearest]

    assert right[0] > 20
    assert right[0] > right[1]


def test_a_layer_that_an_adapter_lacks_says_nothing(concepts: Concepts, directions: Floats) -> None:
    other = directions[0].copy()
    other[LAYOUT.sizes[0] :] = directions[1, LAYOUT.sizes[0] :]

    scores = concepts.scores([as_sketch(own, (True, False)) for own in (directions[0], other)])

    np.testing.assert_array_equal(scores[0], scores[1])


def test_concepts_are_restored_as_they_were(concepts: Concepts, directions: Floats) -> None:
    arrays = {name: np.ascontiguousarray(array) for name, array in concepts.arrays("x").items()}
    again = Concepts.restore(arrays, "x")

    assert again is not None
    adapters = [as_sketch(own) for own in directions]
    np.testing.assert_allclose(again.scores(adapters), concepts.scores(adapters), rtol=0.02)
    np.testing.assert_array_equal(again.texts.dense(), concepts.texts.dense())
    assert Concepts.restore({}, "x") is None
    assert Concepts.restore(arrays, "y") is None
