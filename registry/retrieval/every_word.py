"""Adapters that have every word of a question: behind the best a list goes on by their ids."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy.orm import Session

from registry.retrieval.filters import Filters
from registry.retrieval.statements import bigints, prepare, rows
from registry.retrieval.words import Left
from registry.text.equal_spellings import equal_spellings
from registry.text.request_frames import what_is_asked, words_asked


def literal_adapters(
    session: Session,
    asked: str,
    *,
    filters: Filters,
    after: int,
    without: Collection[int],
    limit: int,
    unwanted: Sequence[str] = (),
) -> list[int]:
    """Return up to `limit` adapters, by id, that have every word of the question.

    Those `after` an id, not `without` those that are known already, and none that has all words of
    a text that is `unwanted`.
    """
    condition, values = _wanted(asked, unwanted)
    if not condition:
        return []
    prepare(session, anew=True)
    left = Left.by(filters)
    found = rows(
        session,
        f"SELECT adapter_id FROM {left.rows} WHERE {left.condition} AND {condition} "
        "AND adapter_id > %(after)s "
        "AND adapter_id <> ALL (%(without)s::bigint[]) ORDER BY adapter_id LIMIT %(limit)s",
        {**left.values, **values, "after": after, "without": bigints(without), "limit": limit},
    )
    return [row.adapter_id for row in found]


def literal_contents(
    session: Session,
    asked: str,
    hashes: Collection[str],
    *,
    filters: Filters,
    until: int,
    unwanted: Sequence[str] = (),
) -> list[Any]:
    """Return what tells the contents of such adapters with ids up to `until`.

    Of those whose file, or what follows its header, has one of `hashes`; as
    `registry.retrieval.duplicates.content_of` takes it.
    """
    condition, values = _wanted(asked, unwanted)
    if not condition:
        return []
    prepare(session, anew=True)
    left = Left.by(filters)
    return list(
        rows(
            session,
            "SELECT DISTINCT files.sha256, files.body_sha256, files.log_norm "
            "FROM files JOIN listings ON listings.file_sha256 = files.sha256 "
            "JOIN listing_words USING (adapter_id) "
            "WHERE (files.sha256 = ANY (%(hashes)s) OR files.body_sha256 = ANY (%(hashes)s)) "
            f"AND adapter_id <= %(until)s AND {left.condition} AND {condition}",
            {**left.values, **values, "hashes": [*hashes], "until": until},
        )
    )


def _wanted(asked: str, unwanted: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Return the condition for what has every word and all of nothing unwanted, and its values.

    Empty where nothing is asked.
    """
    query, values = _every_word(what_is_asked(asked), "wanted")
    if not query:
        return "", {}
    conditions = [f"words_vector @@ ({query})"]
    for place, text in enumerate(unwanted):
        query, of_text = _every_word(what_is_asked(text), f"unwanted_{place}")
        conditions += [f"NOT words_vector @@ ({query})"] if query else []
        values |= of_text
    return " AND ".join(conditions), values


def _every_word(text: str, name: str) -> tuple[str, dict[str, Any]]:
    """Return a tsquery for what has all words of a text, in any spelling, and its values.

    They are called by `name`. Without a word, the query is empty.
    """
    words = [word.text for word in words_asked(text)]
    # Several spellings stand in parentheses of their own; most words have one.
    spelled = [own for word in words if len(own := [word, *equal_spellings(word)]) > 1]
    alone = [word for word in words if not equal_spellings(word)]
    values = {f"{name}_{i}_{j}": one for i, own in enumerate(spelled) for j, one in enumerate(own)}
    queries = [f"plainto_tsquery('simple', %({name})s)"] if alone else []
    queries += [
        " || ".join(f"plainto_tsquery('simple', %({name}_{i}_{j})s)" for j in range(len(own)))
        for i, own in enumerate(spelled)
    ]
    return " && ".join(f"({query})" for query in queries), {**values, name: " ".join(alone)}
