"""Questions of another writer."""

import numpy as np

from benchmarks.wide.asking import Encoded
from benchmarks.wide.otherwise import Otherwise, questions_of
from demo.effects import COLOURS, PATTERNS
from demo.world.manners import words_of_effect
from encoder.text_encoder import load_text_encoder


def test_every_effect_is_asked_for_in_its_colour() -> None:
    for kind, patterns in PATTERNS.items():
        for pattern in patterns:
            for colour, (colour_zh, _) in COLOURS.items():
                key = words_of_effect(kind, pattern, colour).seen[0]
                asked = questions_of({"kind": "effect", "key": key})
                assert len(asked) == 6
                assert all(colour in text for text in asked[:3])
                assert all(colour_zh in text for text in asked[3:])


def test_only_looks_and_effects_are_asked_for_so() -> None:
    assert questions_of({"kind": "object", "key": "solid black icon"}) == []
    assert len(questions_of({"kind": "style", "key": "solid black icon"})) == 6


def test_adapters_that_say_what_is_asked_come_first() -> None:
    keys = ["a fox", "solid black icon", "round flag"]
    kinds = ["object", "style", "style"]
    rows = [{"kind": kind, "key": key} for kind, key in zip(kinds, keys, strict=True)]
    otherwise, encode = Otherwise.of(rows), load_text_encoder().encode
    meant = np.stack([encode(texts).mean(axis=0) for texts in otherwise.questions])
    said = np.concatenate([np.zeros((1, 512)), meant]).astype(np.float32)

    found = otherwise.found(Encoded(said, encode), keys)

    assert otherwise.members.tolist() == [1, 2]
    assert found.min() > 0.9
