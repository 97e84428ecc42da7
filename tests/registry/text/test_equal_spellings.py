"""Which spellings are of one word."""

import pytest

from registry.text.equal_spellings import equal_spellings, without_accents


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("grey", "gray"), ("colour", "color"), ("watercolour", "watercolor"), ("armour", "armor"),
        ("centre", "center"), ("jewellery", "jewelry"), ("stylised", "stylized"),
        ("realise", "realize"), ("colouring", "coloring"),
    ],
)  # fmt: skip
def test_british_and_american_words_are_each_others(one: str, other: str) -> None:
    assert equal_spellings(one) == (other,)
    assert equal_spellings(other) == (one,)


@pytest.mark.parametrize(
    ("word", "plain"),
    [
        ("réd", "red"), ("hëart", "heart"), ("café", "cafe"), ("ångström", "angstrom"),
        ("smørrebrød", "smorrebrod"), ("straße", "strasse"), ("œuvre", "oeuvre"),
    ],
)  # fmt: skip
def test_a_word_with_accents_is_the_one_without(word: str, plain: str) -> None:
    assert without_accents(word) == plain
    assert equal_spellings(word) == (plain,)


def test_accents_and_regions_go_together() -> None:
    assert equal_spellings("gréy") == ("grey", "gray")


@pytest.mark.parametrize(
    "word", ["fox", "rise", "size", "猫", "한국", "が", "йод", "", "v2", "ise"]
)
def test_most_words_have_one_spelling(word: str) -> None:
    """A syllable of another script has parts, and is no Latin letter with an accent."""
    assert equal_spellings(word) == ()
