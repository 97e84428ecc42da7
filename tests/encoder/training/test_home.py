"""Adapters like those that a ridge was fitted on are told from strangers."""

from dataclasses import replace

import numpy as np
import pytest

from encoder.adapter.quarter_matrix import QuarterMatrix
from encoder.arrays import Floats
from encoder.text_encoder import normalise
from encoder.training.home import Clearness, fit_home
from encoder.weight_encoders.beliefs import Beliefs, Home

VALUES = 48
RNG = np.random.default_rng(0)
TO_HOME = RNG.normal(size=VALUES)
USUAL = np.array([0.5, 0.1], np.float32)
CLEAR, UNCLEAR = np.float32(0.09), np.float32(0.03)


def features(adapters: int, *, at_home: bool) -> Floats:
    """Features of length 1, which lie towards `TO_HOME` where adapters are at home."""
    towards = np.float32(1 if at_home else -1) * TO_HOME
    return normalise((RNG.normal(0, 2, (adapters, VALUES)) + towards).astype(np.float32))


@pytest.fixture(scope="module")
def home() -> Home:
    seen, others = features(60, at_home=True), features(200, at_home=False)
    unseen, strangers = features(40, at_home=True), features(100, at_home=False)
    clearness = Clearness(
        RNG.normal(CLEAR, 0.01, 40).astype(np.float32),
        RNG.normal(UNCLEAR, 0.003, 40).astype(np.float32),
    )
    return fit_home(seen, others, unseen, strangers, clearness, USUAL)


def share(home: Home, rows: Floats, clear: np.float32 = CLEAR) -> Floats:
    return home.share(rows, np.full(len(rows), clear))


def test_unseen_adapters_at_home_are_told_from_strangers(home: Home) -> None:
    own, other = (share(home, features(200, at_home=at_home)) for at_home in (True, False))

    assert own.shape == (200, 1)
    assert (own[:, 0, None] > other[:, 0]).mean() > 0.95
    assert other.mean() < 0.02


def test_who_is_like_nothing_is_not_at_home(home: Home) -> None:
    """The ridge has little to say of it, wherever its features lie."""
    rows = features(200, at_home=True)

    assert share(home, rows, UNCLEAR).max() < 0.05
    assert np.median(share(home, rows)) > 0.9


def test_at_home_voices_are_believed_as_is_usual_there(home: Home) -> None:
    beliefs = Beliefs(
        means=np.zeros(3, np.float32),
        spreads=np.ones(3, np.float32),
        usual=np.array([0.2, 0.4], np.float32),
        by_evidence=np.zeros((9, 2), np.float32),
        by_features=QuarterMatrix.of(np.zeros((VALUES, 2), np.float32)),
        usual_likeness=0.1,
    )
    own, other = (features(300, at_home=at_home) for at_home in (True, False))
    evidence = np.full((300, 3), CLEAR)

    told = replace(beliefs, home=home)

    likely = share(home, own)
    np.testing.assert_allclose(
        told.of(own, evidence), likely * USUAL + (1 - likely) * beliefs.usual, rtol=1e-5
    )
    assert np.abs(told.of(other, evidence) - beliefs.of(other, evidence)).mean() < 0.01


def test_a_checkpoint_keeps_who_is_at_home(home: Home) -> None:
    own = features(5, at_home=True)

    again = Home.restore(home.arrays(), VALUES)

    assert again is not None
    np.testing.assert_allclose(share(again, own), share(home, own), rtol=1e-5)
    np.testing.assert_array_equal(again.usual, home.usual)
    assert Home.restore({}, VALUES) is None
