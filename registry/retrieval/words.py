"""Adapters by what people wrote about them: whole words, words with typos, exact names.

A word that few adapters have brings all of them; of one that many have, those with the most
downloads, first where it stands in the name: as many as are asked for, so that nothing which
literally matches is out of reach, and no question costs more for being common.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy.orm import Session

from registry.measures import timed
from registry.retrieval import word_marks
from registry.retrieval.common_words import bearers_of_all, count_common, facts_of_popular
from registry.retrieval.filters import Filters, beyond_facts
from registry.retrieval.ranking import Match
from registry.retrieval.resembling import Resembling, resembling
from registry.retrieval.splitting import split
from registry.retrieval.statements import (
    UNFILTERED,
    Answer,
    ask,
    bigints,
    facts_sql,
    filter_sql,
    prepare,
    rows,
    texts,
)
from registry.retrieval.vector import passing
from registry.retrieval.word_scores import scoring_statement
from registry.retrieval.word_terms import TRANSLATED, Term, in_names, make_term, meanings
from registry.text.compounds import joined_words, words_of_two
from registry.text.equal_spellings import equal_spellings
from registry.text.request_frames import words_asked
from registry.text.translations import translated
from registry.text.word_segmentation import IS_HAN, QueryWord

SHORTEST_TYPO = 4
# What a word counts whose halves stand anywhere, not in one name: less than any typo, for what has
# both says mostly something else.
HALVES = 0.3
# Adapters that have all common words come first; after them those that have one of the rarest.
MOST_COMMON = 3
# Where filters leave at least such a share, it is quicker to ask the rows that have a rare word for
# their facts than the index for both.
BROAD = 0.1
ENDING = ".safetensors"


@dataclass(frozen=True, slots=True)
class _Source:
    """What common words are looked for by, and facts of the most popular adapters."""

    query: str  # a tsquery
    popular: str  # a text[]


@dataclass(frozen=True, slots=True)
class Left:
    """Which rows of `listing_words` filters leave: by their facts, and by listings for the rest."""

    filters: Filters
    facts: str
    listed: str
    values: Mapping[str, Any]

    @classmethod
    def by(cls, filters: Filters) -> "Left":
        facts, of_facts = facts_sql(filters)
        listed, of_listings = filter_sql(beyond_facts(filters))
        return cls(filters, facts, listed, {**of_facts, **of_listings})

    @property
    def is_all(self) -> bool:
        return self.facts == self.listed == UNFILTERED

    @property
    def condition(self) -> str:
        return f"{self.facts} AND {self.listed}"

    @property
    def rows(self) -> str:
        """What has the words, with `listings` where something is asked of them."""
        joined = "listing_words JOIN listings USING (adapter_id)"
        return "listing_words" if self.listed == UNFILTERED else joined


@dataclass(frozen=True, slots=True)
class Wording:
    """The words of a question, among what filters leave, and what gives who uses them."""

    words: Sequence[QueryWord]
    left: Left
    # What to look for, and the words that nobody uses and that may be typos.
    whole_words: Answer[tuple[list[Term], list[str]]]
    # What these may be typos of.
    alike: Answer[Sequence[Resembling]]


def matching_adapters(
    session: Session,
    question: str,
    *,
    filters: Filters,
    limit: int,
    also: Collection[int] = (),
) -> list[Match]:
    """Return up to `limit` adapters that have any of the words, best first.

    The score is the share of the question that an adapter answers, 0..1: words count
    the more, the fewer adapters have them, and less outside of names and for typos. After them
    come those of `also` that have any.
    """
    wording = ask_words(session, question, filters=filters)
    return score_words(session, wording, limit=limit, also=also)


def ask_words(session: Session, question: str, *, filters: Filters) -> Wording:
    """Cut a question into words, and ask which of them anybody uses."""
    with timed("segment"):
        words = words_asked(question)
        meant = translated(words, question)
    left = Left.by(filters)
    prepare(session, anew=not left.is_all)
    whole_words = _ask_whole_words(session, words, meant, left)

    def alike() -> Sequence[Resembling]:
        _, unused = whole_words()
        return resembling(session, unused) if unused else ()

    return Wording(words, left, whole_words, cache(alike))


def score_words(
    session: Session, wording: Wording, *, limit: int, also: Collection[int]
) -> list[Match]:
    """Return what `matching_adapters` does, once it is known which words anybody uses."""
    words, left = wording.words, wording.left
    prepare(session, anew=not left.is_all)
    terms, unused = wording.whole_words()
    if unused:
        common = count_common(session, "words_vector")
        alike = [
            make_term(one.word, [one.meant], one.query, one.closeness, common)
            for one in wording.alike()
        ]
        terms = [*terms, *alike]
        for one in split(session, unused):
            both = " & ".join(f"({query})" for query in one.queries)
            terms.append(in_names(one.word, one.parts, both, common))
            terms.append(make_term(one.word, one.parts, both, HALVES, common))
    if not terms:
        return []
    sources = _sources(session, terms, left, limit)
    places = {word.text: place for place, word in enumerate(words, start=1)}
    of_author = word_marks.by_author(words)
    asked = {
        "weights": [word.weight for word in words],
        "places": [places[term.word] for term in terms],
        "queries": [term.query for term in terms],
        "named": [
            " | ".join([word_marks.named(term.query), *of_author[term.word]]) for term in terms
        ],
        "authored": [term.authored for term in terms],
        "closeness": [term.closeness for term in terms],
        "shares": [term.share for term in terms],
        "adapters": [term.adapters for term in terms],
        "sources": [source.query for source in sources],
        "popular": [source.popular for source in sources],
        "limit": limit,
        "also": bigints(also),
    }
    passing_adapters, everything = passing(session, left.filters)
    broad = passing_adapters >= BROAD * everything
    statement = scoring_statement(left.rows, left.condition, broad=broad)
    found = rows(session, statement, {**left.values, **asked})
    return [Match(row.adapter_id, min(1.0, float(row.score))) for row in found]


def _ask_whole_words(
    session: Session, words: Sequence[QueryWord], meant: Mapping[str, Sequence[str]], left: Left
) -> Answer[tuple[list[Term], list[str]]]:
    """Ask what to look for, and for the words that nobody uses and that may be typos.

    Other spellings of a word, and what is `meant` by it in the other language, are looked for where
    somebody uses them.
    """
    if not words:
        return lambda: ([], [])
    common = count_common(session, "words_vector")
    spellings = _spellings(words)
    halved = words_of_two(words)
    spelled = dict.fromkeys(one for own in spellings.values() for one in own)
    halves_of_all = (half for _, *halves in halved for half in halves)
    written = dict.fromkeys([*spelled, *halves_of_all])
    elsewhere = [one for own in meant.values() for one in own if one not in written]
    may_be_typos = {
        word.text
        for word in words
        if len(word.text) >= SHORTEST_TYPO and not IS_HAN.match(word.text)
    }
    looked_up = may_be_typos | (spelled.keys() - spellings.keys())
    asked = {
        "words": [*written],
        "may_be_unused": [one in looked_up and one not in common for one in written],
        "translations": elsewhere,
    }
    found = ask(session, _usage_statement(left), {**left.values, **asked})

    def answer() -> tuple[list[Term], list[str]]:
        told = {row.word: row for row in found()}
        terms = [
            make_term(word, [one], told[one].query, None, common)
            for word, own in spellings.items()
            for one in own
            # PostgreSQL may know no letter in what Python takes for a word.
            if told[one].query and (one == word or not told[one].unused)
        ]
        for word, own in meant.items():
            queries = {
                one: told[one].query for one in own if told[one].query and not told[one].unused
            }
            terms += meanings(word, queries, common)
        known_elsewhere = {term.word for term in terms if term.share == TRANSLATED}
        for word, *halves in halved:
            if all(told[half].query for half in halves):
                both = " & ".join(f"({told[half].query})" for half in halves)
                terms.append(in_names(word, halves, both, common))
        unused = [
            word
            for word, own in spellings.items()
            if word in may_be_typos
            and all(told[one].unused for one in own)
            and word not in known_elsewhere
        ]
        return terms, unused

    return cache(answer)


def _usage_statement(left: Left) -> str:
    """Return the statement that tells of `words` which nobody has, and of `translations`."""
    return f"""
        -- OFFSET 0 and the join: else PostgreSQL takes every word for frequent, and looks through
        -- all rows for the first that has it.
        SELECT word, query::text, may_be_unused AND NOT EXISTS (
            SELECT FROM (
                SELECT adapter_id FROM listing_words
                WHERE words_vector @@ query AND {left.facts} OFFSET 0
            ) AS bearers JOIN listings USING (adapter_id)
            WHERE {left.listed}
        ) AS unused
        FROM unnest(%(words)s::text[], %(may_be_unused)s::boolean[])
                AS asked (word, may_be_unused)
            CROSS JOIN plainto_tsquery('simple', word) AS query
        UNION ALL SELECT word, plainto_tsquery('simple', word)::text, EXISTS (
            SELECT FROM unnest(string_to_array(word, ' ')) AS part
            WHERE NOT EXISTS (SELECT FROM vocabulary WHERE vocabulary.word = part)
        )
        FROM unnest(%(translations)s::text[]) AS meant (word)
    """


def _spellings(words: Sequence[QueryWord]) -> dict[str, list[str]]:
    """Return by word of a question how it may be written, itself first.

    Who writes two of them as one has both.
    """
    spellings = {word.text: [word.text, *equal_spellings(word.text)] for word in words}
    apart = [(first, second, joined) for joined, first, second in words_of_two(words)]
    for first, second, joined in (*joined_words(words), *apart):
        for word in (first, second):
            # Of a word that was written as one, halves are no words of the question.
            if word in spellings and joined not in spellings[word]:
                spellings[word].append(joined)
    return spellings


def _sources(session: Session, terms: Sequence[Term], left: Left, limit: int) -> list[_Source]:
    """Return what to look for among the popular, for common words."""
    common = sorted(
        (term for term in terms if term.adapters is not None), key=lambda term: term.adapters or 0
    )
    queries = [
        (word_marks.named(term.query), term.adapters_named or 0.0) for term in common[:MOST_COMMON]
    ]
    if len(common) > 1:
        # Of one word any spelling does.
        by_word: dict[str, list[Term]] = {}
        for term in common:
            by_word.setdefault(term.word, []).append(term)
        each = [sum(term.adapters or 0.0 for term in own) for own in by_word.values()]
        any_of = [" | ".join(f"({term.query})" for term in own) for own in by_word.values()]
        together = bearers_of_all(session, each)
        queries.append((" & ".join(f"({query})" for query in any_of), together))
    if len(common) == 1:
        queries.append((common[0].query, common[0].adapters or 0.0))
    return [
        _Source(query, texts(facts_of_popular(session, left.filters, bearers, limit)))
        for query, bearers in queries
    ]


def ask_exact(session: Session, asked: str, *, filters: Filters, limit: int) -> Answer[list[int]]:
    """Ask for adapters of which `asked` is a trigger word, the name or the file's.

    Returns what gives their ids.
    """
    left = Left.by(filters)
    prepare(session, anew=not left.is_all)
    wanted = without_ending(asked.strip())
    # OFFSET 0 keeps this apart: PostgreSQL takes names for frequent, and would rather walk through
    # all adapters by downloads until it meets ten of them.
    named = f"""(
        SELECT adapter_id FROM listing_words
        WHERE called @> ARRAY[lower(%(wanted)s)] AND {left.facts} OFFSET 0
    ) AS named JOIN listings USING (adapter_id)"""
    found = ask(
        session,
        f"SELECT listings.adapter_id FROM {named} WHERE {left.listed} "
        "ORDER BY listings.downloads DESC, listings.adapter_id LIMIT %(limit)s",
        {**left.values, "wanted": wanted, "limit": limit},
    )
    return lambda: [row.adapter_id for row in found()]


def without_ending(name: str) -> str:
    """Return a file's name without its ending, also where that was not typed to its end.

    It says nothing of an adapter.
    """
    stem, _, ending = name.rpartition(".")
    return stem if stem and len(ending) > 1 and ENDING[1:].startswith(ending.lower()) else name
