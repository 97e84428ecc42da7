"""What a score says by itself: pure, so every claim is instant."""

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoder.arrays import Doubles
from registry.retrieval.fitness import (
    FARTHEST,
    FITNESS,
    SAID_NONSENSE,
    Fitness,
    band_of,
    has_every_word,
    probabilities,
    probabilities_of_said,
)
from registry.retrieval.terms import SIGNALS, Signal

scores = st.lists(st.none() | st.floats(-5, 15), min_size=1, max_size=20)


def array(z: list[float | None]) -> Doubles:
    return np.array([math.nan if value is None else value for value in z])


def slow(
    model: Fitness, z: list[float | None], others: list[bool], gibberish: float, silent: bool
) -> list[float]:
    """Fitness.log_odds, one adapter after another."""
    known = [value for value in z if value is not None]
    found = []
    for value, other in zip(z, others, strict=True):
        if value is None:
            found.append(model.unknown)
            continue
        above = value - model.gibberish * max(gibberish, 0) - model.doubt
        near = 1 / (1 + math.exp(-model.slope * above))
        odds = model.weight * math.log((model.floor + near) / (model.floor + 1))
        odds -= model.lag * (1 - math.exp(-model.pace * (max(known) - value)))
        alone = model.alone if other else model.alone + model.only
        found.append(odds + (alone * min(above, FARTHEST) if silent else 0))
    return found


@given(st.sampled_from(SIGNALS), scores, st.randoms(), st.floats(-2, 8), st.booleans())
def test_log_odds_equal_their_slow_version(
    signal: Signal, z: list[float | None], random: Random, gibberish: float, silent: bool
) -> None:
    model = FITNESS[signal]
    others = [random.random() < 0.5 for _ in z]

    found = model.log_odds(
        array(z),
        np.full(len(z), gibberish),
        silent=np.full(len(z), silent),
        others_know=np.array(others, bool),
    )

    assert found == pytest.approx(slow(model, z, others, gibberish, silent))


def test_a_near_adapter_of_which_nothing_else_is_known_is_surer_where_words_are_silent() -> None:
    """Not described, it cannot be contradicted; a caption that is far from the question does."""
    near, nothing = np.array([9.0, 9.0]), np.zeros(2)
    z: dict[Signal, Doubles] = {
        "weights": near,
        "captions": np.array([math.nan, 0.0]),
        "words": nothing,
    }

    undescribed, described = probabilities(z, nothing, nothing, silent=np.full(2, True))

    assert undescribed > described


@given(scores, scores, st.sampled_from(["weights", "captions"]), st.floats(0, 5), st.randoms())
def test_no_adapter_falls_by_a_better_score(
    one: list[float | None], other: list[float | None], signal: Signal, more: float, random: Random
) -> None:
    """Nor does any other rise by it."""
    count = min(len(one), len(other))
    mute = np.array([random.random() < 0.5 for _ in range(count)], bool)
    z: dict[Signal, Doubles] = {signal: array(one[:count]), "words": np.linspace(0, 1, count)}
    better = {name: own.copy() for name, own in z.items()}
    better[signal][0] += more
    nothing = np.zeros(count)

    before = probabilities(z, nothing, nothing, silent=mute)
    after = probabilities(better, nothing, nothing, silent=mute)

    assert after[0] >= before[0] - 1e-12
    assert (after[1:] <= before[1:] + 1e-12).all()


@given(st.floats(0, 8), st.floats(0, 8), st.floats(-3, 12))
def test_the_nearer_to_gibberish_the_less_probable(one: float, other: float, z: float) -> None:
    near, far = max(one, other), min(one, other)
    own: dict[Signal, Doubles] = {"captions": np.array([z])}

    found = [
        probabilities(own, np.array([g]), np.zeros(1), silent=np.full(1, True)) for g in (near, far)
    ]

    assert found[0] <= found[1] + 1e-12


@given(st.integers(1, 50), st.floats(-3, 12))
def test_equals_lose_nothing_by_each_other(count: int, z: float) -> None:
    one, many = (
        probabilities(
            {"weights": np.full(n, z)}, np.zeros(n), np.zeros(n), silent=np.full(n, False)
        )
        for n in (1, count)
    )

    assert many == pytest.approx(np.full(count, one[0]))


def test_probabilities_have_words() -> None:
    assert [band_of(p) for p in (0.0, 0.3, 1.0)] == ["probably not", "perhaps", "fits"]


@given(st.floats(-3, 12), st.booleans())
def test_who_has_every_word_is_more_probable_than_who_lacks_some(z: float, told: bool) -> None:
    """An author or a path in full is what was asked for, though it weighs less than a name."""
    own: dict[Signal, Doubles] = {"words": np.array([1.0, 0.6, 0.75])}
    if told:
        own["captions"] = np.full(3, z)

    named, elsewhere, partly = probabilities(
        own, np.zeros(3), np.zeros(3), silent=np.full(3, False)
    )

    assert has_every_word(own["words"]).tolist() == [True, True, False]
    assert named > elsewhere
    assert named > partly
    assert elsewhere > partly


@given(st.lists(st.none() | st.floats(-1, 1), min_size=1, max_size=20))
def test_what_is_said_nearer_is_more_probable_and_what_is_unknown_stays_so(
    said: list[float | None],
) -> None:
    own = array(said)

    found = probabilities_of_said(own)

    assert np.isnan(found).tolist() == np.isnan(own).tolist()
    known = ~np.isnan(own)
    assert np.all(np.diff(found[known][np.argsort(own[known])]) >= 0)


def test_what_is_said_in_other_words_fits_and_what_means_nothing_does_not() -> None:
    """Cosines as `水彩` has with Watercolor and Underwater, and mashed keys with the nearest."""
    fitting, other = probabilities_of_said(np.array([0.49, 0.28]))

    assert [band_of(p) for p in (fitting, other)] == ["fits", "probably not"]
    assert band_of(float(probabilities_of_said(np.array([0.22]))[0])) == "probably not"


def test_a_name_that_is_near_a_word_nobody_knows_does_not_fit_for_that() -> None:
    """As `mao` is near Ink, and `hongxin` near zwx: both are nearer to mashed keys."""
    near = np.array([0.47, 0.5])

    nonsense = probabilities_of_said(near, gibberish=np.array([5.2, 4.0]))
    word = probabilities_of_said(near, gibberish=SAID_NONSENSE)

    assert [band_of(p) for p in word] == ["fits", "fits"]
    assert "fits" not in [band_of(p) for p in nonsense]
    assert np.array_equal(word, probabilities_of_said(near))
