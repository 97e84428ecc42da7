"""Which words a short one may have been meant to be, by one slip of the fingers.

How many trigrams two words share tells typos in long words only: of `ghibli` and `gibli` it is 4
of 9, fewer than of many pairs that have nothing to do with each other.
"""

from collections.abc import Iterator
from string import ascii_lowercase

# Shorter words are too near each other; of longer ones enough trigrams are left.
SHORTEST_MEANT, LONGEST_TYPED = 6, 8
# Two letters that are swapped tell more: of correct words of five letters that nobody uses 1 % are
# such a slip of another, and 5 % lack a letter of one (of 4,200, beside 15,000 that are used).
SHORTEST_SWAPPED = 5


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
