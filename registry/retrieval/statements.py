"""Statements of a search as text: written once, so that asking costs no time outside PostgreSQL."""

import math
import time
from collections.abc import (
    Callable,
    Collection,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import psycopg
from pgvector import HalfVector
from psycopg.rows import namedtuple_row
from sqlalchemy import ARRAY, ColumnElement, Engine, Select, and_, any_, literal, true
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import InstrumentedAttribute, Session, sessionmaker

from registry.db.models import EMBEDDING_DIM
from registry.retrieval.errors import EmbeddingDimensionError
from registry.retrieval.filters import Filters, conditions, conditions_on_facts

Embedding = npt.NDArray[np.float32]
Fact = TypeVar("Fact")
# Gives what was asked for, and waits until it is there.
Answer = Callable[[], Fact]

# What a transaction that searches is told, and forgets at its end.
SETTINGS = {
    # Filters run after the index scan; without this a rare base model loses its hits.
    # https://github.com/pgvector/pgvector#iterative-index-scans
    "hnsw.iterative_scan": "relaxed_order",
    # Most candidates that a signal offers come from the first round: recall@10 at a million is in
    # docs/benchmarks/scale.md.
    "hnsw.ef_search": "120",
    # A scan that found too few by now is given up, and what there is is compared one by one;
    # filters that leave less are not answered by the index in the first place.
    "hnsw.max_scan_tuples": "20000",
    "hnsw.scan_mem_multiplier": "4",
    # Some thousand adapters that have a word of the question, with all their words.
    "work_mem": "16MB",
    # The indexes of a search lie in memory, where jumping costs little more than reading on.
    "random_page_cost": "1.1",
    # Starting workers and compiling take longer than a search should.
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    # pg_trgm's similarity from which a word is a typo of another: one wrong letter in a word of
    # six leaves 0.5 (`watercolr` is 0.64 like `watercolor`).
    "pg_trgm.similarity_threshold": "0.5",
}
BEGIN, COMMIT = "BEGIN ISOLATION LEVEL REPEATABLE READ", "COMMIT"
# What filters that ask nothing are as SQL.
UNFILTERED = "true"
# psycopg prepares what is asked again and again, and to plan a statement takes as long as to run
# it in an index of some thousands. A plan for any filter is a bad one for most, though, and so is
# one for any word where some are common.
_KEPT, _ANEW = "force_generic_plan", "force_custom_plan"
_PLANS = "SELECT set_config('plan_cache_mode', '{}', true)"
# The same as a column of a SELECT.
_SET = [
    f"set_config('{name}', '{value}', true)"
    for name, value in {**SETTINGS, "plan_cache_mode": _KEPT}.items()
]
SETTING = f"ARRAY[{', '.join(_SET)}] AS settings"
# What PostgreSQL estimates or counts is believed for so long.
BELIEVED_SECONDS = 60.0
MOST_BELIEVED = 1024


def among(column: InstrumentedAttribute[Any], values: Collection[Any]) -> ColumnElement[bool]:
    """Return whether a column's value is one of some, in a statement that is the same for any.

    As a list in parentheses every number of them is another statement, to be written, sent and
    planned anew.
    """
    return column == any_(literal(list(values), ARRAY(column.type)))


def rows(session: Session, statement: str, values: Mapping[str, Any]) -> Sequence[Any]:
    """Run a statement with psycopg's placeholders, `%(name)s`; rows have columns as attributes.

    By psycopg itself: what SQLAlchemy does around it takes more than half as long again.

    Raises:
        DBAPIError: it failed, as if SQLAlchemy had run it.
    """
    return ask(session, statement, values)()


def ask(session: Session, statement: str, values: Mapping[str, Any]) -> Answer[Sequence[Any]]:
    """Send a statement as `rows` does, and return what gives its rows, or raises its error."""
    cursor = _connection(session).cursor(row_factory=namedtuple_row)
    with _errors_of(statement, values):
        cursor.execute(statement, values)

    def answer() -> Sequence[Any]:
        with _errors_of(statement, values):
            return cursor.fetchall()

    return answer


@contextmanager
def together(session: Session) -> Iterator[None]:
    """Wait once for all that is asked in the block, when it ends.

    PostgreSQL begins with the first at once, while the block goes on, and sees them in order.
    Nothing in it may ask through SQLAlchemy, which would take rows that are not there yet for none.

    Raises:
        DBAPIError: one of them failed.
    """
    with _errors_of("statements sent together"), _connection(session).pipeline():
        yield


@contextmanager
def snapshot(sessions: sessionmaker[Session]) -> Iterator[Session]:
    """Give a session that sees one state of the database from `begin_snapshot` on.

    psycopg would begin and end the transaction by itself, and wait for each.
    """
    with sessions.begin() as session:
        connection = session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        # Looked up once: it is asked for with every statement.
        session.info["driver"] = connection.connection.driver_connection
        yield session


def _connection(session: Session) -> psycopg.Connection[Any]:
    """Return psycopg's own connection, by which the session's transaction runs."""
    kept: psycopg.Connection[Any] | None = session.info.get("driver")
    return kept or session.connection().connection.driver_connection  # type: ignore[return-value]


def begin_snapshot(session: Session) -> None:
    """Begin the transaction of a `snapshot`."""
    ask(session, BEGIN, {})


@contextmanager
def ending(session: Session) -> Iterator[None]:
    """End the transaction of a `snapshot` with what is asked `together` in the block."""
    with together(session):
        yield
        ask(session, COMMIT, {})


@contextmanager
def _errors_of(statement: str, values: Mapping[str, Any] | None = None) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise DBAPIError(statement, values, error) from error


def prepare(session: Session, *, anew: bool = False) -> None:
    """Let the session's transaction run as SETTINGS say, until its end.

    Plans of statements are kept, unless they are to be made `anew` for the values that are asked.
    """
    wanted = _ANEW if anew else _KEPT
    plans = _prepared(session)
    if plans is None:
        ask(session, f"SELECT {SETTING}", {})
        plans = _KEPT
    if plans != wanted:
        ask(session, _PLANS.format(wanted), {})
    note_prepared(session, wanted)


def note_prepared(session: Session, plans: str = _KEPT) -> None:
    """Note that the session's transaction runs as SETTING says."""
    session.info["prepared"] = (session.get_transaction(), plans)


def _prepared(session: Session) -> str | None:
    """Return how statements of the session's transaction are planned; None before `prepare`."""
    transaction, plans = session.info.get("prepared", (None, None))
    return plans if transaction is session.get_transaction() else None


_believed: WeakKeyDictionary[Engine, dict[Hashable, tuple[float, Any]]] = WeakKeyDictionary()


def believed(session: Session, name: Hashable, ask: Callable[[], Fact]) -> Fact:
    """Return what `ask` tells of a database, or told BELIEVED_SECONDS ago at most."""
    facts = _believed.setdefault(session.get_bind().engine, {})
    told, fact = facts.get(name, (-math.inf, None))
    if time.monotonic() - told > BELIEVED_SECONDS:
        if len(facts) >= MOST_BELIEVED:
            facts.clear()
        fact = ask()
        facts[name] = (time.monotonic(), fact)
    return fact  # type: ignore[no-any-return]


@lru_cache(maxsize=1024)
def filter_sql(filters: Filters) -> tuple[str, Mapping[str, Any]]:
    """Return what `filters` ask of `listings`, as SQL to follow AND, and its values.

    UNFILTERED where they ask nothing.
    """
    return _sql(conditions(filters))


@lru_cache(maxsize=1024)
def facts_sql(filters: Filters) -> tuple[str, Mapping[str, Any]]:
    """Return the same of `listing_words`, whose facts tell all but what is `beyond_facts`."""
    return _sql(conditions_on_facts(filters))


def _sql(wanted: Sequence[ColumnElement[bool]]) -> tuple[str, Mapping[str, Any]]:
    compiled = and_(true(), *wanted).compile(
        dialect=PGDialect_psycopg(),  # type: ignore[no-untyped-call]
        compile_kwargs={"render_postcompile": True},
    )
    return str(compiled), compiled.params


def written(statement: Select[Any]) -> str:
    """Return a statement as text with its values in it: those that are asked come in beside."""
    compiled = statement.compile(
        dialect=PGDialect_psycopg(),  # type: ignore[no-untyped-call]
        compile_kwargs={"literal_binds": True},
    )
    return str(compiled)


def bigints(numbers: Iterable[int]) -> str:
    """Write numbers as PostgreSQL reads a bigint[]: psycopg takes five times as long for a list."""
    return f"{{{','.join(map(str, numbers))}}}"


def texts(words: Iterable[str]) -> str:
    """Write words of letters and signs that need no quoting as PostgreSQL reads a text[]."""
    return f"{{{','.join(words)}}}"


def vector(embedding: Embedding) -> HalfVector:
    """Return an embedding (dim,) as psycopg sends it, in the precision that pgvector stores.

    Raises:
        EmbeddingDimensionError: it does not fit the column.
    """
    if embedding.shape != (EMBEDDING_DIM,):
        raise EmbeddingDimensionError(embedding.size, EMBEDDING_DIM)
    return HalfVector(embedding)
