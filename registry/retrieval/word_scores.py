"""The statement that scores whoever has any of the words of a question.

It is read as it is put together: what is asked, who may be an answer, which of the words each of
those has, and what that is worth. It is the same for all questions, and asks for each term by
itself, so that no plan depends on how common one is.
"""

from registry.retrieval.fitness import AUTHORED, ELSEWHERE

# A word that e^COMMON adapters have counts half as much as one that a single adapter has.
COMMON = 10.0
BEARERS = "SELECT adapter_id, popularity, words_vector"

# `terms` are what to look for because of a word, which is its place in the question; where
# `adapters` is NULL it is rare. `sources` are what common words are looked for by.
_ASKED = """
    terms AS MATERIALIZED (
        SELECT word, query::tsquery, named::tsquery, authored::tsquery, closeness, share,
            adapters
        FROM unnest(%(places)s::bigint[], %(queries)s::text[], %(named)s::text[],
            %(authored)s::text[], %(closeness)s::float[], %(shares)s::float[],
            %(adapters)s::float[])
            AS terms (word, query, named, authored, closeness, share, adapters)
    ), sources AS MATERIALIZED (
        SELECT source, query::tsquery, popular::text[]
        FROM unnest(%(sources)s::text[], %(popular)s::text[])
            WITH ORDINALITY AS sources (query, popular, source)
    )
"""

# `said` is a row for every term that an adapter has, `found` one for every word of the question,
# by the term that comes closest to it.
_WORDS_OF_EACH = f"""
    said AS (
        SELECT * FROM bearers
        UNION ALL SELECT terms.*, candidates.*
        FROM candidates JOIN terms ON words_vector @@ query
        WHERE adapters IS NOT NULL
    ), found AS MATERIALIZED (
        SELECT adapter_id, popularity, word, max(adapters) AS adapters, max(coalesce(
            closeness, share * CASE
                WHEN words_vector @@ named THEN 1.0
                WHEN words_vector @@ authored THEN {AUTHORED}
                ELSE {ELSEWHERE}
            END
        )) AS closeness
        FROM said
        GROUP BY adapter_id, popularity, word
    )
"""

# Words count the more, the fewer adapters have them; the score is their share of the question.
_SCORES = f"""
    rarity AS MATERIALIZED (
        SELECT word, weight * coalesce(
            1.0 / (1.0 + ln(greatest(max(adapters), nullif(count(adapter_id), 0))) / {COMMON}),
            1.0
        ) AS value
        FROM unnest(%(weights)s::float[]) WITH ORDINALITY AS asked (weight, word)
            LEFT JOIN found USING (word)
        GROUP BY word, weight
    ), scores AS (
        SELECT adapter_id, popularity, round(
            1e9 * sum(closeness * value) / (SELECT sum(value) FROM rarity)
        ) / 1e9 AS score
        FROM found JOIN rarity USING (word)
        GROUP BY adapter_id, popularity
    )
"""

_BEST = """
    placed AS (
        SELECT adapter_id, score,
            row_number() OVER (ORDER BY score DESC, popularity DESC, adapter_id) AS place
        FROM scores
    )
    SELECT adapter_id, score FROM placed
    WHERE place <= %(limit)s OR adapter_id = ANY (%(also)s::bigint[])
    ORDER BY place
"""


def scoring_statement(source: str, condition: str, *, broad: bool) -> str:
    """Return the statement for the rows of `source` that fulfil a `condition`, both as SQL.

    They are `listing_words`, with others joined where the condition is of those too; `broad` is
    one that most fulfil. It gives `adapter_id` and `score`, 0..1, best first.
    """
    candidates = _candidates(source, condition, broad=broad)
    return f"WITH {_ASKED}, {candidates}, {_WORDS_OF_EACH}, {_SCORES}, {_BEST}"


def _candidates(source: str, condition: str, *, broad: bool) -> str:
    """Return who may be an answer.

    All that have a rare term are found by it, and their words need not be read again: `bearers`.
    Of common ones the most popular are candidates: those with some facts first, all others are
    less so.
    """
    bearing = f"{BEARERS} FROM {source} WHERE {condition} AND words_vector @@ query"
    rare = bearing
    if broad:
        by_word = "(SELECT * FROM listing_words WHERE words_vector @@ query OFFSET 0)"
        rare = f"{BEARERS} FROM {by_word} AS {source} WHERE {condition}"
    most = "ORDER BY popularity DESC, listing_words.adapter_id DESC LIMIT %(limit)s"
    return f"""
        bearers AS MATERIALIZED (
            SELECT terms.*, bearing.*
            FROM terms CROSS JOIN LATERAL ({rare} OFFSET 0) AS bearing
            WHERE adapters IS NULL
        ), popular AS MATERIALIZED (
            SELECT source, bearing.*
            FROM sources CROSS JOIN LATERAL ({bearing} AND facts && popular {most}) AS bearing
            WHERE popular <> '{{}}'
        ), candidates AS MATERIALIZED (
            SELECT adapter_id, popularity, words_vector FROM bearers
            UNION ALL SELECT adapter_id, popularity, words_vector FROM popular
            UNION ALL SELECT bearing.*
            FROM sources CROSS JOIN LATERAL ({bearing} {most}) AS bearing
            WHERE (SELECT count(*) FROM popular WHERE popular.source = sources.source) < %(limit)s
            UNION ALL {BEARERS} FROM listing_words WHERE adapter_id = ANY (%(also)s::bigint[])
        )
    """
