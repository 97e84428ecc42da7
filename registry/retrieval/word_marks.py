"""Questions for words by where they stand: `listing_words` marks those of names and of authors.

An = is before words of names and trigger words, an @ before those that only the author's name has,
and @= before that name as one word.
"""

import re
from collections.abc import Sequence

from registry.text.translations import is_ordinary
from registry.text.word_segmentation import QueryWord, as_one_word, query_words

# An author's name has so many words at most, where they are ordinary ones.
MOST_OF_AUTHOR = 4


def named(query: str) -> str:
    """Return a tsquery for the same words in names: `listing_words` marks them by an =."""
    return re.sub(r"'=?([^']+)'", r"'=\1'", query)


def authored(query: str) -> str:
    """Return a tsquery for the same words where only an author's name has them."""
    return re.sub(r"'=?([^']+)'", r"'@\1'", query)


def not_authored(query: str) -> str:
    """Return a tsquery for the same words where they stand elsewhere, too."""
    return re.sub(r"('[^']+')", lambda word: f"({word[0]} & !{authored(word[0])})", query)


def by_author(words: Sequence[QueryWord]) -> dict[str, list[str]]:
    """Return by word of a question tsqueries for the authors whose whole name it is, or is in.

    One that is called by an ordinary word alone is not meant by it more than what others say.
    """
    whole = [word for word in words if word.weight == 1.0]
    names: dict[str, list[str]] = {word.text: [] for word in words}
    for first in range(len(whole)):
        for end in range(first + 1, min(first + MOST_OF_AUTHOR, len(whole)) + 1):
            parts = whole[first:end]
            if len(parts) == 1 and is_ordinary(parts[0].text):
                continue
            for part in parts:
                names[part.text].append(f"'@={as_one_word(parts)}'")
    # The parts of an identifier, and the signs of a Chinese word, come behind it.
    of_whole = list[str]()
    for word in words:
        of_whole = names[word.text] if word.weight == 1.0 else of_whole
        names[word.text] = of_whole
    return names


def is_one_ordinary_word(text: str) -> bool:
    """Whether a question is one word of a dictionary, or none that says anything."""
    words = [word.text for word in query_words(text) if word.weight == 1.0]
    return len(words) < 2 and all(map(is_ordinary, words))
