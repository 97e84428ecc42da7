"""Indexes of a chosen quality."""

from dataclasses import replace

from benchmarks.search.world import SETUPS, captions_of, describe, qualities
from demo.concepts import Concept

FOX = Concept(
    "fox", "object", "held-out", (), (), ("a", "b", "c"), ("甲", "乙", "丙"), "", "fox", "狐"
)


def test_half_of_a_sparse_index_knows_nothing_or_lies() -> None:
    known = qualities(100, "sparse", seed=0)

    assert sorted(set(known)) == sorted(set(SETUPS["sparse"]))
    assert known.count("removed") == known.count("misleading") == 25
    assert known == qualities(100, "sparse", seed=0)


def test_questions_are_the_caption_at_the_place_asked_for() -> None:
    """Covers show the other two: a question that they show would be found for nothing."""
    assert captions_of([FOX, FOX], "en", [2, 0]) == ["c", "a"]
    assert captions_of([FOX], "zh", [1]) == ["乙"]


def test_an_index_in_both_languages_says_of_every_other_adapter_in_chinese() -> None:
    foxes = [replace(FOX, key=f"fox {place}") for place in range(3)]

    records = describe(foxes, ["full"] * 3, "both", [0, 0, 0])

    assert [record.name for record in records] == ["Fox LoRA", "狐", "Fox LoRA"]
    assert [record.covers[0].prompt for record in records] == ["b", "乙", "b"]
