"""What is said of looks and effects, so that they are found by what is seen."""

import re

from demo.effects import PATTERNS
from demo.world.manners import ASKED_EFFECTS, LOOKS
from demo.world.said import EFFECTS, MADE, SEEN, SEEN_OF, said_of_look
from demo.world.sources import load_looks


def test_every_training_look_and_effect_is_told_as_it_is_seen() -> None:
    looks = [look for look in load_looks() if look.split == "train"]

    assert {look.style for look in looks} == SEEN_OF.keys()
    assert set(SEEN_OF.values()) == SEEN.keys()
    assert all(set(look.words) < set(said_of_look(look)) for look in looks)
    assert EFFECTS.keys() == {(kind, own) for kind in PATTERNS for own in PATTERNS[kind]}


def test_no_question_about_unseen_looks_has_the_words_of_a_phrase_that_was_learned() -> None:
    """Else what is measured would be a matching of phrases."""
    phrases = [
        said.replace("{}", colour)
        for both in (*MADE.values(), *SEEN.values(), *EFFECTS.values())
        for part in both
        for said in part
        for colour in ("black", "黑色", "blue", "蓝色", "red", "红色")
    ]
    learned = {told_words(phrase) for phrase in phrases}
    asked = [text for words in LOOKS.values() for text in words.asked]
    asked += [text.format("red") for text, _ in ASKED_EFFECTS.values()]
    asked += [text.format("红色") for _, text in ASKED_EFFECTS.values()]

    assert {text for text in asked if told_words(text) in learned} == set()


def told_words(phrase: str) -> frozenset[str]:
    """Return the words of a phrase but for small ones; of Chinese, its characters."""
    small = {"a", "an", "in", "of", "on", "with", "the", "and", "it", "is", "all", "的", "，"}
    words = re.findall(r"[a-z0-9]+|[^\sa-z0-9,]", phrase.lower())
    return frozenset(words) - small
