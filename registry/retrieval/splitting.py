"""Words that nobody uses, as two that somebody does: pixelart is pixel art."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from registry.retrieval.statements import rows
from registry.text.compounds import splits_of

# So many words of a question are cut, as with slips of the fingers, and each in so many ways.
MOST_CUT = 2
MOST_WAYS = 2


@dataclass(frozen=True, slots=True)
class Split:
    """Two words that are one of the question, each as a tsquery."""

    word: str
    parts: tuple[str, str]
    queries: tuple[str, str]


def split(session: Session, unused: Sequence[str]) -> list[Split]:
    """Return how words that nobody uses may be cut into two that are used, the longest first."""
    ways = [(word, *parts) for word in unused[:MOST_CUT] for parts in splits_of(word)]
    if not ways:
        return []
    statement = """
        SELECT asked.word, first, second,
            plainto_tsquery('simple', first)::text AS first_query,
            plainto_tsquery('simple', second)::text AS second_query
        FROM unnest(%(words)s::text[], %(firsts)s::text[], %(seconds)s::text[])
            WITH ORDINALITY AS asked (word, first, second, place)
        WHERE EXISTS (SELECT FROM vocabulary WHERE vocabulary.word = first)
            AND EXISTS (SELECT FROM vocabulary WHERE vocabulary.word = second)
        ORDER BY place
    """
    words, firsts, seconds = (list(column) for column in zip(*ways, strict=True))
    found: dict[str, list[Split]] = {}
    for row in rows(session, statement, {"words": words, "firsts": firsts, "seconds": seconds}):
        if row.first_query and row.second_query:
            parts, queries = (row.first, row.second), (row.first_query, row.second_query)
            found.setdefault(row.word, []).append(Split(row.word, parts, queries))
    return [one for ways_of_one in found.values() for one in ways_of_one[:MOST_WAYS]]
