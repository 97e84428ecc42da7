"""What is looked for because of a word asked: itself, what it resembles or means elsewhere."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from registry.retrieval import word_marks
from registry.retrieval.fitness import ELSEWHERE
from registry.text.translations import is_ordinary

# A word in the other language counts in a name as the word itself does elsewhere, and elsewhere so
# much less: it may mean something else.
TRANSLATED = ELSEWHERE


@dataclass(frozen=True, slots=True)
class Term:
    """What is looked for because of a word asked: the word itself, or one that it resembles."""

    word: str
    query: str  # a tsquery
    # What it counts; None for the word itself and its translations, which count by their place.
    closeness: float | None
    # How many adapters have it, about, where it is common.
    adapters: float | None
    # And how many have it in their names, if many do.
    adapters_named: float | None = None
    # A tsquery for those who have it from a part of their author's name, where it may be no name.
    authored: str | None = None
    # What it counts against the word itself where both count by their place.
    share: float = 1.0


def make_term(
    asked: str,
    words: Sequence[str],
    query: str,
    closeness: float | None,
    common: Mapping[str, float],
) -> Term:
    """Return what to look for, of which a `query` wants all `words`."""
    named = _count_bearers(_marked(words), common)
    in_full = "".join(f" & !'@={word}'" for word in words)
    authored = f"{word_marks.authored(query)}{in_full}" if all(map(is_ordinary, words)) else None
    return Term(asked, query, closeness, _count_bearers(words, common), named, authored)


def meanings(asked: str, queries: Mapping[str, str], common: Mapping[str, float]) -> Iterator[Term]:
    """Yield what to look for because of a word's translations, rare ones and common ones together.

    `queries` has a tsquery for each; an author who is called 像素猫 does no cats.
    """
    counts = {one: _count_bearers(one.split(), common) for one in queries}
    for is_common in (False, True):
        own = [one for one in queries if (counts[one] is not None) == is_common]
        if own:
            query = " | ".join(f"({word_marks.not_authored(queries[one])})" for one in own)
            named = [_count_bearers(_marked(one.split()), common) or 0.0 for one in own]
            adapters = sum(counts[one] or 0.0 for one in own) if is_common else None
            yield Term(asked, query, None, adapters, sum(named), share=TRANSLATED)


def _marked(words: Sequence[str]) -> list[str]:
    """Return words as `listing_words` has those of names and trigger words."""
    return [f"={word.removeprefix('=')}" for word in words]


def _count_bearers(words: Sequence[str], common: Mapping[str, float]) -> float | None:
    """Return how many adapters may have all `words`, where each is common; None where few have."""
    counts = [common[word] for word in words if word in common]
    return min(counts) if len(counts) == len(words) else None


def in_names(asked: str, words: Sequence[str], query: str, common: Mapping[str, float]) -> Term:
    """Return a term for what has all `words` in its name or trigger words, which is the word."""
    return make_term(asked, _marked(words), word_marks.named(query), 1.0, common)
