"""Which words one may have been meant to be: a short one by one slip, a long one by two.

How many trigrams two words share tells one slip in long words only: of `ghibli` and `gibli` it is 4
of 9, fewer than of many pairs that have nothing to do with each other, and of `dinosaur` and
`dinasour` 4 of 14.
"""

from collections.abc import Iterator
from string import ascii_lowercase

# Shorter words are too near each other; of longer ones enough trigrams are left.
SHORTEST_MEANT, LONGEST_TYPED = 6, 8
# Two letters that are swapped tell more: of correct words of five letters that nobody uses 1 % are
# such a slip of another, and 5 % lack a letter of one (of 4,200, beside 15,000 that are used).
SHORTEST_SWAPPED = 5
# Who slips twice knows how a word begins. Of correct words that nobody uses, and that share few
# trigrams with any, 7 % of eight letters and 3 % of nine are two slips from another that begins so,
# and less than 1 % of those with the same letters, or of ten letters (of 1,200, beside 12,000).
BEGINNING = 3
SHORTEST_REORDERED, SHORTEST_SLIPPED_TWICE = 8, 10
SLIPS_IN_LONG = 2


def slips_of(typed: str) -> set[str]:
    """Return all spellings of which `typed` lacks a letter, has another, or swaps two.

    Of 6 letters or more, or 5 where two are swapped, in the Latin alphabet; none where `typed` is
    not, or has more than 8. A letter too many leaves enough trigrams in any word.
    """
    if not (typed.isascii() and typed.isalpha() and len(typed) <= LONGEST_TYPED):
        return set()
    found: set[str] = set()
    if len(typed) + 1 >= SHORTEST_MEANT:
        found.update(_with_one_more(typed))
    if len(typed) >= SHORTEST_MEANT:
        found.update(_with_another(typed))
    if len(typed) >= SHORTEST_SWAPPED:
        found.update(_swapped(typed))
    return found - {typed}


def _with_one_more(word: str) -> Iterator[str]:
    for place in range(len(word) + 1):
        for letter in ascii_lowercase:
            yield word[:place] + letter + word[place:]


def _with_another(word: str) -> Iterator[str]:
    for place in range(len(word)):
        for letter in ascii_lowercase:
            yield word[:place] + letter + word[place + 1 :]


def _swapped(word: str) -> Iterator[str]:
    for place in range(len(word) - 1):
        yield word[:place] + word[place + 1] + word[place] + word[place + 2 :]


def may_have_two_slips(typed: str) -> bool:
    """Whether a word is one for `is_two_slips`: of 8 letters or more, in the Latin alphabet."""
    return typed.isascii() and typed.isalpha() and len(typed) >= SHORTEST_REORDERED


def is_two_slips(typed: str, meant: str) -> bool:
    """Whether a long word may have been meant that begins as `typed` does, two slips from it.

    A slip is a letter that is missing, one too many, another, or swapped with the next. Of fewer
    than 10 letters both words have the same ones.
    """
    if not may_have_two_slips(typed) or typed[:BEGINNING] != meant[:BEGINNING]:
        return False
    if min(len(typed), len(meant)) < SHORTEST_SLIPPED_TWICE and sorted(typed) != sorted(meant):
        return False
    return are_two_slips_apart(typed, meant)


def are_two_slips_apart(word: str, other: str) -> bool:
    """Whether two slips, or fewer, make one word of the other."""
    near = abs(len(word) - len(other)) <= SLIPS_IN_LONG
    return near and _slips_between(word, other) <= SLIPS_IN_LONG


def _slips_between(word: str, other: str) -> int:
    """Return how many slips make one word of the other (optimal string alignment)."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for i, letter in enumerate(word, start=1):
        row = [i]
        for j, another in enumerate(other, start=1):
            least = min(row[j - 1] + 1, last[j] + 1, last[j - 1] + (letter != another))
            if i > 1 and j > 1 and letter == other[j - 2] and word[i - 2] == another:
                least = min(least, before[j - 2] + 1)
            row.append(least)
        before, last = last, row
    return last[-1]
