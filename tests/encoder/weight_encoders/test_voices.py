"""Concepts of every kind have a say of their own."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from encoder.adapter.quarter_matrix import QuarterMatrix
from encoder.adapter.two_bit_matrix import TwoBitMatrix
from encoder.arrays import Floats
from encoder.sketches.sketch import Layout, Sketch
from encoder.text_encoder import normalise
from encoder.weight_encoders import voices
from encoder.weight_encoders.beliefs import Beliefs
from encoder.weight_encoders.concepts import Concepts
from encoder.weight_encoders.text_space import TextSpace
from encoder.weight_encoders.voices import Known, Said, say

RNG = np.random.default_rng(0)
LAYOUT = Layout("test", ((64, 1),))
KEYS = RNG.normal(size=(90, 64)).astype(np.float32)
TEXTS = np.eye(90, 128, dtype=np.float32) + np.float32(0.01)
LOOKS, THINGS = range(30), range(30, 90)


@pytest.fixture(autouse=True)
def plain_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words are axes here: the text space has no part in this."""
    monkeypatch.setattr(voices, "words_of", lambda vocabulary, text: vocabulary.texts.dense())


def concepts(starts: list[int]) -> Concepts:
    return Concepts(
        np.zeros(64, np.float32),
        np.arange(64, dtype=np.int32),
        TwoBitMatrix.of(KEYS),
        QuarterMatrix.of(TEXTS),
        np.array(starts, np.int32),
    )


def asked(starts: list[int]) -> Said:
    """Ask about an adapter of the tenth thing, in a look between all of the looks."""
    change = KEYS[THINGS[10]] + 4 * KEYS[: len(LOOKS)].mean(axis=0) * len(LOOKS) ** 0.5
    sketch = Sketch(
        LAYOUT, "test", change.astype(np.float16), np.zeros(1, np.float32), np.ones(1, bool)
    )
    said: Floats = np.ones((1, 128), np.float32)
    text = cast(TextSpace, SimpleNamespace())
    return say(concepts(starts), concepts([0]), said, change[None], [sketch], text)


def test_a_thing_is_said_beside_a_look_that_is_clearer() -> None:
    said = asked([0, len(LOOKS)]).voices

    assert list(said) == ["ridge", "concepts", "concepts 0", "concepts 1", "looks"]
    nearest = {name: int(voice[0, :90].argmax()) for name, voice in said.items()}
    assert nearest["concepts"] in LOOKS
    assert nearest["concepts 0"] in LOOKS
    assert nearest["concepts 1"] == THINGS[10]


def test_concepts_of_one_kind_speak_once() -> None:
    alone, apart = asked([0]), asked([0, len(LOOKS)])

    assert (len(alone.voices), len(apart.voices)) == (3, 5)
    # How clearly each speaks, and how far every two agree.
    assert alone.evidence.shape[1] == 3 + 3
    assert apart.evidence.shape[1] == 5 + 10


def test_a_question_is_heard_in_the_words_of_what_is_nearest_to_it() -> None:
    """What it asks for in those of concepts, and how it is to be drawn in those of looks."""
    known = Known(concepts([0]), concepts([0]), cast(Beliefs, SimpleNamespace()))
    meant, unheard_of = TEXTS[[40, 5]], np.zeros((2, 128), np.float32)
    unheard_of[:, 127] = 2
    asked = normalise(meant + unheard_of)

    heard = known.hear(asked, cast(TextSpace, SimpleNamespace()))

    np.testing.assert_allclose(np.linalg.norm(heard, axis=1), 1, rtol=1e-5)
    assert ((heard * meant).sum(axis=1) > 1.2 * (asked * meant).sum(axis=1)).all()
    assert heard[:, :90].argmax(axis=1).tolist() == [40, 5]
