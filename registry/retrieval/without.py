"""Adapters that say of themselves to be without what a question does not want.

`Teacup Without Handle` has the word "handle", and is just what is asked for by who wants none.
"""

from collections.abc import Collection

from sqlalchemy.orm import Session

from registry.retrieval.statements import bigints, rows, texts
from registry.text.unwanted import written_without


def that_say_so(session: Session, thing: str, ids: Collection[int]) -> set[int]:
    """Return those of `ids` that have it in name, trigger words, tags or description."""
    if not ids:
        return set()
    statement = """
        SELECT id FROM adapters
        WHERE id = ANY (%(ids)s::bigint[]) AND translate(
            lower(concat_ws(
                ' ', '', name, file_name, description,
                array_to_string(trigger_words, ' '), array_to_string(tags, ' ')
            )),
            '_-', '  '
        ) LIKE ANY (%(phrases)s::text[])
    """
    # A casino is no "no"; Chinese has no spaces before it.
    phrases = [f"%{' ' * one.isascii()}{one}%" for one in written_without(thing)]
    found = rows(session, statement, {"ids": bigints(ids), "phrases": texts(phrases)})
    return {row.id for row in found}
