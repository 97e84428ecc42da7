"""How near voices come is learned from adapters that count more or less."""

import numpy as np
import pytest

from encoder.arrays import Floats
from encoder.text_encoder import normalise
from encoder.training.beliefs import fit_beliefs
from encoder.weight_encoders.beliefs import Beliefs, said_together
from encoder.weight_encoders.voices import Said

ADAPTERS, DIM, VALUES = 40, 8, 24
RNG = np.random.default_rng(0)


def drawn(*shape: int) -> Floats:
    return RNG.normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def said() -> Said:
    voices = {name: normalise(drawn(ADAPTERS, DIM)) for name in ("ridge", "concepts", "looks")}
    return Said(voices, drawn(ADAPTERS, 4))


TARGETS, FEATURES = drawn(ADAPTERS, DIM), drawn(ADAPTERS, VALUES)


def believed(said: Said, places: list[int], counts: list[float]) -> tuple[Beliefs, Floats]:
    """Learn from some adapters, and tell how far voices are believed of all."""
    voices = {name: voice[places] for name, voice in said.voices.items()}
    some = Said(voices, said.evidence[places])
    own = np.array(counts, np.float32)
    beliefs = fit_beliefs(some, TARGETS[places], FEATURES[places], own)
    return beliefs, beliefs.of(FEATURES, said.evidence)


def test_an_adapter_that_counts_twice_is_as_two(said: Said) -> None:
    every = list(range(ADAPTERS))

    first, one = believed(said, every, [2.0] * 10 + [1.0] * (ADAPTERS - 10))
    second, other = believed(said, [*range(10), *every], [1.0] * (ADAPTERS + 10))

    np.testing.assert_allclose(one, other, atol=2e-3)
    assert first.usual_likeness == pytest.approx(second.usual_likeness, abs=2e-3)


def test_those_that_count_more_are_told_better(said: Said) -> None:
    every, wanted = list(range(ADAPTERS)), normalise(TARGETS)
    near = np.stack([(voice * wanted).sum(axis=1) for voice in said.voices.values()], axis=1)

    def missed(counts: list[float]) -> float:
        found = believed(said, every, counts)[1][:10]
        return float(np.abs(found - Beliefs.bounded(near[:10])).mean())

    assert missed([20.0] * 10 + [1.0] * 30) < missed([1.0] * ADAPTERS)


def test_who_says_what_others_have_said_adds_little() -> None:
    first, other = np.eye(2, DIM, dtype=np.float32)
    likeness = np.full((1, 4), 0.5, np.float32)

    alone, _ = said_together([first[None], other[None]], likeness[:, :2])
    repeated, _ = said_together([first[None]] * 3 + [other[None]], likeness)

    assert alone[0, 0] == pytest.approx(alone[0, 1])
    assert repeated[0, 0] < 1.6 * repeated[0, 1]


def test_what_is_said_is_as_near_as_it_is_told_to_be() -> None:
    """With voices that differ only by noise, whose likeness to what is true is known."""
    truth = normalise(drawn(50, 400))
    voices = [normalise(truth + np.float32(noise) * drawn(50, 400)) for noise in (0.05, 0.05, 0.08)]
    likeness = np.stack([(voice * truth).sum(axis=1) for voice in voices], axis=1)

    said, told = said_together(voices, likeness)

    near = (said * truth).sum(axis=1)
    np.testing.assert_allclose(near, told, atol=1e-4)
    assert near.mean() > likeness.max(axis=1).mean()
