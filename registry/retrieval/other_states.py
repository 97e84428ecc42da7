"""Adapters that are not ready: listed and not all here, refused, or gone. They have no listing."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import ColumnElement, func, literal, select
from sqlalchemy.orm import Session

from registry.db.models import Adapter
from registry.retrieval.browsing import MOST_COUNTED, ListedIds, Total
from registry.retrieval.cursors import is_bigint, read_cursor, write_cursor
from registry.retrieval.errors import CursorError, FilterError
from registry.retrieval.filters import (
    Filters,
    base_models_named,
    base_models_of_families,
    has_tags,
    lowered,
)
from registry.retrieval.spellings import spellings
from registry.retrieval.terms import State

# What is known without the file; the others ask what its reader said.
KNOWN = ("base_models", "families", "authors", "tags", "licences", "hubs", "variants")


def browse_state(
    session: Session, state: State, filters: Filters, cursor: str | None, limit: int
) -> ListedIds:
    """Return up to `limit` adapters of a state that is not "ready", the last added first.

    Raises:
        CursorError: the cursor is of another question, or none.
        FilterError: a filter asks about files that were read.
    """
    question = ("state", state, filters)
    wanted = [Adapter.state == state, *_conditions(filters, state)]
    if cursor is None:
        some = select(literal(1)).select_from(Adapter).where(*wanted).limit(MOST_COUNTED + 1)
        counted = session.scalars(select(func.count()).select_from(some.subquery())).one()
        total = Total(min(counted, MOST_COUNTED), counted <= MOST_COUNTED)
    else:
        total, below = _read(question, cursor)
        wanted.append(Adapter.id < below)
    query = select(Adapter.id).where(*wanted).order_by(Adapter.id.desc()).limit(limit + 1)
    ids = session.scalars(query).all()
    if len(ids) <= limit:
        return ListedIds(tuple(ids), total, None)
    following = write_cursor(question, [total.count, total.exact, ids[limit - 1]])
    return ListedIds(tuple(ids[:limit]), total, following)


def _conditions(filters: Filters, state: State) -> list[ColumnElement[bool]]:
    nothing = Filters()
    for field in fields(Filters):
        given = getattr(filters, field.name)
        if field.name not in KNOWN and given != getattr(nothing, field.name):
            raise FilterError(
                f"what is {state} cannot be filtered by {field.name}: only files that were read "
                "are. Filter by base_model, family, author, tag, licence or hub."
            )
    wanted: list[ColumnElement[bool]] = []
    columns: list[tuple[Any, Sequence[Any]]] = [
        (Adapter.base_model, base_models_named(filters)),
        (Adapter.base_model, base_models_of_families(filters)),
        (func.lower(Adapter.author), lowered(filters.authors)),
        (func.lower(Adapter.licence), lowered(spellings("licences", filters.licences))),
        (func.lower(Adapter.hub), lowered(spellings("hubs", filters.hubs))),
    ]
    for column, values in columns:
        if values:
            wanted.append(column.in_(values))
    if filters.tags:
        tags = func.string_to_array(func.lower(func.array_to_string(Adapter.tags, "\n")), "\n")
        wanted.append(has_tags(tags, filters.tags))
    return wanted


def _read(question: object, cursor: str) -> tuple[Total, int]:
    match read_cursor(question, cursor):
        case [counted, bool(exact), below] if is_bigint(counted) and is_bigint(below):
            return Total(counted, exact), below
        case _:
            raise CursorError
