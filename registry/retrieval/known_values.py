"""Which values there are to filter by, and clear words about those that are not.

Values of a column are read by jumping through its index from one to the next (a loose index scan,
https://wiki.postgresql.org/wiki/Loose_indexscan): a million rows have fifty base models.
"""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ARRAY, Select, Text, func, literal, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from encoder.base_models.facts import family_of
from registry.db.models import Listing
from registry.retrieval.errors import UnknownBaseModelError, UnknownFilterValueError
from registry.retrieval.filters import (
    Filters,
    base_models_meant,
    has_tags,
    lowered,
    members_of,
)
from registry.retrieval.spellings import Spelled, spellings
from registry.text.word_segmentation import clean

# Of a long list, those spelled most alike.
MOST_NAMED = 8
# Tags are read from so many adapters, in no order, when one is not found.
SAMPLE = 10_000


def base_models_listed(session: Session) -> list[str]:
    """Return the base models of ready adapters, in the order of their names."""
    return list(session.scalars(values_of(Listing.base_model)))


def check_filters(
    session: Session, filters: Filters, listed: Collection[str] | None = None
) -> None:
    """See that there is an adapter of every value that filters ask for.

    `listed` are the base models of ready adapters, where they are known already.

    Raises:
        UnknownBaseModelError: there is none of a base model or family.
        UnknownFilterValueError: there is none with another value.
    """
    if filters.base_models or filters.families:
        _check_base_models(session, filters, listed or base_models_listed(session))
    for name, column, asked in (
        ("author", Listing.author, [(one, (one,)) for one in filters.authors]),
        ("licence", Listing.licence, _each_spelled("licences", filters.licences)),
        ("hub", Listing.hub, _each_spelled("hubs", filters.hubs)),
        ("trainer", Listing.trainer, _each_spelled("trainers", filters.trainers)),
    ):
        for value, meant in asked:
            if not _is_there(session, column.in_(lowered(meant))):
                alike = _alike(values_of(column), value)
                raise _unknown(name, value, session.scalars(alike).all())
    for value in filters.tags:
        if not _is_there(session, has_tags(Listing.tags, [value])):
            raise _unknown("tag", value, session.scalars(_alike(_some_tags(), value)).all())


def _each_spelled(field: Spelled, values: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Return values beside how adapters may have each."""
    return [(value, spellings(field, [value])) for value in values]


def _check_base_models(session: Session, filters: Filters, listed: Collection[str]) -> None:
    for asked in filters.base_models:
        if not set(base_models_meant(asked)) & set(listed):
            raise UnknownBaseModelError(asked, _nearest(session, listed, asked))
    for asked in filters.families:
        if not set(members_of(asked)) & set(listed):
            families = sorted(set(map(family_of, listed)))
            nearest = _nearest(session, families, asked)
            raise UnknownFilterValueError(
                "family", asked, nearest, more=len(families) > len(nearest)
            )


def _unknown(name: str, value: str, found: Collection[str]) -> UnknownFilterValueError:
    known = list(found)
    return UnknownFilterValueError(
        name, value, known[:MOST_NAMED], more=len(known) > MOST_NAMED or name == "tag"
    )


def _is_there(session: Session, condition: Any) -> bool:
    return bool(session.scalar(select(select(Listing.adapter_id).where(condition).exists())))


def values_of(column: InstrumentedAttribute[Any]) -> Select[str]:
    """Select the values of a column that an index begins with, in order."""
    value = column.label("value")
    first = select(value).where(column.is_not(None)).order_by(column).limit(1)
    # In a subquery, for an ORDER BY of its own.
    found = select(first.subquery().c.value).cte("found", recursive=True)
    after = select(value).where(column > found.c.value).order_by(column).limit(1)
    found = found.union_all(
        select(after.scalar_subquery()).where(found.c.value.is_not(None)),
    )
    return select(found.c.value).where(found.c.value.is_not(None))


def _some_tags() -> Select[str]:
    """Select the tags of adapters that are a random sample where there are very many."""
    some = select(Listing.tags).order_by(Listing.shuffle).limit(SAMPLE).subquery()
    return select(func.unnest(some.c.tags).label("value")).distinct()


def _alike(values: Select[str], value: str) -> Select[str]:
    """Select those that are spelled most like `value`, one more than are named."""
    known = values.subquery()
    return (
        select(known.c.value)
        # Who has no author has an empty one, which nobody can ask for.
        .where(known.c.value != "")
        .order_by(func.similarity(known.c.value, clean(value)).desc(), known.c.value)
        .limit(MOST_NAMED + 1)
    )


def _nearest(session: Session, names: Collection[str], asked: str) -> list[str]:
    """Return up to MOST_NAMED names that are spelled most like `asked`."""
    values = select(func.unnest(literal(list(names), ARRAY(Text))).label("value"))
    return list(session.scalars(_alike(values, asked)))[:MOST_NAMED]
