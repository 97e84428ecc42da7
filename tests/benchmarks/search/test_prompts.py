"""Prompts that name several things, as selection is asked."""

from benchmarks.search.prompts import ENGLISH, compose
from demo.concepts import Concept
from registry.text.prompt_phrases import spans_of


def concept(kind: str, subject: str) -> Concept:
    words = (subject, subject, subject)
    return Concept(subject, kind, "held-out", (), (), words, words, "", subject, f"某{subject}")


def test_every_composed_prompt_names_its_things_and_can_be_cut() -> None:
    concepts = [
        concept(kind, f"{kind}{n}") for kind in ("object", "style", "colour") for n in "abc"
    ]

    prompts = compose(concepts, 2 * len(ENGLISH), seed=0)

    assert prompts == compose(concepts, 2 * len(ENGLISH), seed=0)
    for prompt in prompts:
        assert 2 <= len(prompt.keys) <= 3
        assert all(key in prompt.english for key in prompt.keys)
        assert all(f"某{key}" in prompt.chinese for key in prompt.keys)
        assert len(spans_of(prompt.english)) >= 3
