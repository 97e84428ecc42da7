from typing import Any

import pytest

from crawler.hub_text import clean_text, clean_words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ('["a","b"]', ("a", "b")),
        (["a", "a", "b"], ("a", "b")),
        ("a cat", ("a cat",)),
        ('[""]', ()),
        ("none", ()),
        ("[broken", ("[broken",)),
        (None, ()),
        ([None, 7, {"a": 1}, "x"], ("x",)),
        (["fox\nSteps: 1, Seed: 2", "a\r\n\u2028b"], ("fox Steps: 1, Seed: 2", "a b")),
    ],
)
def test_words_are_read_from_every_shape(value: Any, words: tuple[str, ...]) -> None:
    assert clean_words(value) == words


def test_text_holds_nothing_that_a_database_refuses() -> None:
    text = clean_text("  猫\0\ud800\u202e\x1b[31m line\nnext\t ", 100)

    assert text == "猫[31m line\nnext"
    text.encode()
