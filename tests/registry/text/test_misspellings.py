"""Slips of the fingers: one in short words, two in long ones."""

import random

import pytest

from registry.text.misspellings import _slips_between, is_two_slips, slips_of


@pytest.mark.parametrize("typed", ["gibli", "ghbli", "ghibi", "gjibli", "ghilbi", "hgibli"])
def test_a_word_is_found_that_lacks_a_letter_has_another_or_swaps_two(typed: str) -> None:
    assert "ghibli" in slips_of(typed)


@pytest.mark.parametrize("typed", ["gibl", "watercolr", "b100d", "équipe", "狐狸"])
def test_words_that_are_too_short_or_long_or_of_other_letters_have_no_slips(typed: str) -> None:
    assert slips_of(typed) == set()


@pytest.mark.parametrize("typed", ["ohrse", "hrose", "hosre", "hores"])
def test_two_letters_that_are_swapped_are_seen_in_a_word_of_five(typed: str) -> None:
    assert "horse" in slips_of(typed)


def test_what_may_have_been_meant_has_six_letters_and_is_another_word() -> None:
    """Of five letters none but what has the same ones."""
    slips = slips_of("tiger")
    assert {word for word in slips if len(word) != 6} == {"itger", "tgier", "tiegr", "tigre"}
    assert {len(word) for word in slips_of("castle")} == {6, 7}
    assert "castle" not in slips_of("castle")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("dinasour", "dinosaur"),
        ("silouhette", "silhouette"),
        ("photograpihc", "photographic"),
        ("watercollour", "watercolour"),
        ("psycadelicc", "psychadelic"),
        ("architekchure", "architecture"),
    ],
)
def test_two_slips_are_seen_in_a_long_word(typed: str, meant: str) -> None:
    assert is_two_slips(typed, meant)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        # Two correct words of eight letters are often two slips apart.
        ("flagging", "flashing"),
        ("dinasour", "dinosaurs"),
        # Three slips, another beginning, other letters, too short.
        ("silouhete", "silhouette"),
        ("wtaercolour", "watercolor"),
        ("lora000019", "lora000091"),
        ("dargno", "dragon"),
        ("asdfqwer", "asdfrewq"),
    ],
)
def test_two_slips_are_not_seen_in_what_may_be_another_word(typed: str, meant: str) -> None:
    assert not is_two_slips(typed, meant)


def slowly(word: str, other: str) -> int:
    """Count slips by trying each: what is cut off is not touched again."""
    if not word or not other:
        return len(word) + len(other)
    ways = [
        slowly(word[1:], other) + 1,
        slowly(word, other[1:]) + 1,
        slowly(word[1:], other[1:]) + (word[0] != other[0]),
    ]
    if len(word) > 1 and word[:2] == other[1::-1]:
        ways.append(slowly(word[2:], other[2:]) + 1)
    return min(ways)


def test_slips_are_counted_as_by_trying_each() -> None:
    rng = random.Random(0)
    for _ in range(300):
        word, other = ("".join(rng.choices("abc", k=rng.randint(0, 5))) for _ in range(2))
        assert _slips_between(word, other) == slowly(word, other), (word, other)
