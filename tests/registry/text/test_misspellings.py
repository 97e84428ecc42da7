"""Slips of the fingers in short words."""

import pytest

from registry.text.misspellings import slips_of


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
