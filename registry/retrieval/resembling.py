"""Words that one which nobody uses may be a typo of.

By trigrams in words of any length; in short ones also by one slip of the fingers, and in long ones
by two, where these find nothing that is so near.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from registry.retrieval.statements import rows, texts
from registry.text.misspellings import (
    BEGINNING,
    SLIPS_IN_LONG,
    are_two_slips_apart,
    is_two_slips,
    may_have_two_slips,
    slips_of,
)

# What a word counts that only resembles one: less than any whole word.
TYPO = 0.5
# Of so many words that resemble one that nobody uses, adapters are looked up.
MOST_RESEMBLING = 8
# So many words of a question are looked at for slips of the fingers: who types it types few.
MOST_SLIPS = 2
# Of the words that begin as a long one does so many are looked at, and of these the nearest: some
# beginnings are those of all that trainers number.
MOST_BEGINNING, MOST_COMPARED = 5_000, 50


@dataclass(frozen=True, slots=True)
class Resembling:
    """A word that may have been meant by the one that was asked for."""

    word: str
    meant: str
    query: str  # a tsquery
    closeness: float


def resembling(session: Session, unused: Sequence[str]) -> list[Resembling]:
    """Return the words that those which nobody uses may be typos of."""
    found = [
        Resembling(row.word, row.meant, row.query, TYPO * row.similarity)
        for row in _by_trigrams(session, unused)
        if row.query
    ]
    # Half of a long word's trigrams may be those of one that nobody could have meant.
    told = {one.word for one in found if are_two_slips_apart(one.word, one.meant)}
    left = [word for word in unused if word not in told and may_have_two_slips(word)]
    return found + _by_two_slips(session, left[:MOST_SLIPS]) if left else found


def _by_trigrams(session: Session, unused: Sequence[str]) -> Sequence[Any]:
    statement = """
        SELECT asked.word, alike.word AS meant,
            plainto_tsquery('simple', alike.word)::text AS query, alike.similarity
        FROM unnest(%(words)s::text[], %(meant)s::text[]) AS asked (word, meant)
            CROSS JOIN LATERAL (
                SELECT DISTINCT word, similarity FROM (
                    -- Some may be there twice: of a few that takes less to see than of thousands.
                    (SELECT vocabulary.word, similarity(vocabulary.word, asked.word)
                    FROM vocabulary WHERE vocabulary.word %% asked.word
                    ORDER BY 2 DESC, 1 LIMIT 2 * %(most)s)
                    -- What somebody uses elsewhere is no slip.
                    UNION ALL SELECT vocabulary.word, similarity(vocabulary.word, asked.word)
                    FROM vocabulary WHERE vocabulary.word = ANY (asked.meant::text[])
                        AND NOT EXISTS (SELECT FROM vocabulary AS v WHERE v.word = asked.word)
                ) AS nearest
                ORDER BY 2 DESC, 1 LIMIT %(most)s
            ) AS alike
    """
    slips = [texts(slips_of(word)) for word in unused[:MOST_SLIPS]]
    meant = [*slips, *[None] * (len(unused) - len(slips))]
    asked = {"words": list(unused), "meant": meant, "most": MOST_RESEMBLING}
    return rows(session, statement, asked)


def _by_two_slips(session: Session, typed: Sequence[str]) -> list[Resembling]:
    """Return the words from which long ones are two slips away."""
    statement = """
        SELECT asked.word, alike.word AS meant,
            plainto_tsquery('simple', alike.word)::text AS query
        FROM unnest(%(words)s::text[]) AS asked (word)
            CROSS JOIN LATERAL (
                SELECT DISTINCT begun.word, similarity(begun.word, asked.word)
                FROM (
                    SELECT word FROM vocabulary
                    WHERE word >= left(asked.word, %(beginning)s)
                        AND word <= left(asked.word, %(beginning)s) || repeat('z', 20)
                    ORDER BY word LIMIT %(most_beginning)s
                ) AS begun
                WHERE length(begun.word) BETWEEN length(asked.word) - %(slips)s
                    AND length(asked.word) + %(slips)s
                ORDER BY 2 DESC, 1 LIMIT %(most)s
            ) AS alike
    """
    asked = {
        "words": list(typed),
        "beginning": BEGINNING,
        "slips": SLIPS_IN_LONG,
        "most_beginning": MOST_BEGINNING,
        "most": MOST_COMPARED,
    }
    return [
        # Of its letters as many are right; trigrams, of which each letter is in three, tell less.
        Resembling(row.word, row.meant, row.query, TYPO * (1 - SLIPS_IN_LONG / len(row.word)))
        for row in rows(session, statement, asked)
        if row.query and is_two_slips(row.word, row.meant)
    ]
