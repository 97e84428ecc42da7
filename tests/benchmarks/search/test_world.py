"""Indexes of a chosen quality."""

from benchmarks.search.world import SETUPS, captions_of, qualities
from demo.concepts import Concept


def test_half_of_a_sparse_index_knows_nothing_or_lies() -> None:
    known = qualities(100, "sparse", seed=0)

    assert sorted(set(known)) == sorted(set(SETUPS["sparse"]))
    assert known.count("removed") == known.count("misleading") == 25
    assert known == qualities(100, "sparse", seed=0)


def test_questions_are_the_caption_at_the_place_asked_for() -> None:
    """Covers show the other two: a question that they show would be found for nothing."""
    fox = Concept(
        "fox", "object", "held-out", (), (), ("a", "b", "c"), ("甲", "乙", "丙"), "", "fox", "狐"
    )

    assert captions_of([fox, fox], "en", [2, 0]) == ["c", "a"]
    assert captions_of([fox], "zh", [1]) == ["乙"]
