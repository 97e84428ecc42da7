"""What many adapters have in common, as PostgreSQL counted when it last analysed `listing_words`.

Of a common word the most popular adapters are looked at; facts tell who they are.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from sqlalchemy.orm import Session

from registry.retrieval.filters import Filters
from registry.retrieval.statements import believed, rows
from registry.retrieval.vector import passing

# What more adapters have than this is common.
MANY = 1000
# Of the most popular so many times more are looked at than are wanted, for estimates may be wrong.
SPARE = 4

Column = Literal["words_vector", "facts"]


def count_common(session: Session, column: Column) -> Mapping[str, float]:
    """Return how many adapters have a word or a fact, about, of those that many have."""
    return believed(session, ("common", column), lambda: _count(session, column))


def _count(session: Session, column: Column) -> Mapping[str, float]:
    statement = """
        SELECT element, frequency * reltuples AS adapters
        FROM pg_stats, pg_class,
            unnest(most_common_elems::text::text[], most_common_elem_freqs)
                AS common (element, frequency)
        WHERE schemaname = current_schema AND tablename = 'listing_words'
            AND attname = %(column)s AND pg_class.oid = 'listing_words'::regclass
            AND frequency * reltuples > %(many)s
    """
    found = rows(session, statement, {"column": column, "many": MANY})
    return {row.element: row.adapters for row in found}


def bearers_of_all(session: Session, adapters: Sequence[float]) -> float:
    """Return how many adapters have all of some words, each of which so many have, if by chance.

    Mostly they are more: words that are said together are seldom strangers.
    """
    _, everything = passing(session, Filters())
    return everything * math.prod(own / max(everything, 1) for own in adapters)


def facts_of_popular(session: Session, filters: Filters, bearers: float, wanted: int) -> list[str]:
    """Return facts of the most popular adapters, among whom `wanted` of `bearers` should pass.

    None where that takes half of all, or more: then all may as well be looked at.
    """
    left, everything = passing(session, filters)
    passing_bearers = bearers * left / everything
    counts = count_common(session, "facts")
    facts: list[str] = []
    popular = 0.0
    # One more than anybody has: what was counted is believed for a while.
    for step in reversed(range(_most_popular(session) + 2)):
        facts.append(f"popularity={step}")
        popular += counts.get(facts[-1], 0.0)
        if 2 * popular > everything:
            break
        if passing_bearers * popular / everything >= SPARE * wanted:
            return facts
    return []


def _most_popular(session: Session) -> int:
    """Return in which step of four the most downloads are, as `facts_of` has them.

    The index looks for every fact that it is asked for, also those that nobody has.
    """
    statement = "SELECT popularity(max(downloads)) / 8 AS step FROM listings"
    return believed(session, "most popular", lambda: int(rows(session, statement, {})[0].step))
