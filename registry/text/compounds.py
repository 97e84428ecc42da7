"""Words that some write as one and others as two: lineart, line art, line-art."""

from collections.abc import Sequence
from itertools import pairwise

from registry.text.word_segmentation import PART_WEIGHT, STOP_WORDS, QueryWord, singular

# Such as many write in both ways, so that there is always somebody who uses the word. Names that
# have both halves are looked for with it.
_COMPOUNDS = {
    f"{first}{second}": (first, second)
    for second, firsts in {
        "art": "ascii clip concept fan folk glitch line pixel string vector voxel",
        "book": "comic picture story",
        "core": "cottage dream",
        "cut": "paper",
        "design": "flat",
        "drawn": "hand",
        "exposure": "double",
        "fantasy": "dark",
        "fi": "sci",
        "image": "z",
        "motion": "stop",
        "painting": "oil",
        "poly": "low",
        "punk": "cyber diesel solar steam",
        "real": "hyper photo semi",
        "scape": "city",
        "shaded": "cel",
        "wash": "ink",
        "wave": "retro synth vapor",
    }.items()
    for first in firsts.split()
}
# "sci fi" is scifi; of shorter parts most would be the syllables of another word.
SHORTEST_JOINED, SHORTEST_SPLIT = 2, 3
LONGEST = 24
# A question has few names in it; each pair is looked up.
MOST_JOINED = 6
# Of all places where a word may be cut, those that leave the longest parts.
MOST_SPLITS = 12


def joined_words(words: Sequence[QueryWord]) -> list[tuple[str, str, str]]:
    """Return neighbours of a question, and what they are as one word."""
    pairs = [
        (first.text, second.text, singular(first.text + second.text))
        for first, second in pairwise(words)
        if first.weight == second.weight == 1.0
        and (_may_join(first.text) or first.text + second.text in _COMPOUNDS)
        and _may_join(second.text)
        and len(first.text) + len(second.text) <= LONGEST
    ]
    return pairs[:MOST_JOINED]


def words_of_two(words: Sequence[QueryWord]) -> list[tuple[str, str, str]]:
    """Return the words of a question that are two in one, `line-art` and `lineart`, with both."""
    known = [(word.text, *_COMPOUNDS[word.text]) for word in words if word.text in _COMPOUNDS]
    seams = [
        (whole.text, first.text, second.text)
        for whole, first, second in zip(words, words[1:], words[2:], strict=False)
        if first.weight == second.weight == PART_WEIGHT
        and whole.text == first.text + second.text
        and whole.text.isalpha()
    ]
    return list(dict.fromkeys([*known, *seams]))


def splits_of(word: str) -> list[tuple[str, str]]:
    """Return the two words that a Latin one may be, the longest first; none where it is short."""
    if not (word.isascii() and word.isalpha() and len(word) <= LONGEST):
        return []
    places = range(SHORTEST_SPLIT, len(word) - SHORTEST_SPLIT + 1)
    middle_first = sorted(places, key=lambda place: abs(2 * place - len(word)))
    parts = [(singular(word[:place]), word[place:]) for place in middle_first[:MOST_SPLITS]]
    return [pair for pair in parts if STOP_WORDS.isdisjoint(pair)]


def _may_join(word: str) -> bool:
    return word.isascii() and word.isalpha() and len(word) >= SHORTEST_JOINED
