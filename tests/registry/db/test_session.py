"""Connections that end, between two uses and in one, and vectors that they carry."""

import json
import os
from collections.abc import Iterator

import numpy as np
import pytest
from pgvector import HalfVector
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import QueuePool

from registry.db.session import connect, one_line_errors
from registry.errors import DatabaseLostError, NumberTooLargeError
from registry.retrieval.statements import ask, begin_snapshot, ending, rows, snapshot, together

OWN = text("SELECT pg_backend_pid()")


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = connect(database_url)
    yield engine
    engine.dispose()


def test_a_connection_that_the_server_ended_is_replaced(engine: Engine) -> None:
    """The pool hands out what has been idle for longest, and nobody pings it."""
    with engine.connect() as other:
        with engine.connect() as idle:
            ended = idle.scalar(OWN)
        # It waits until the process is gone.
        assert other.scalar(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": ended})

        with engine.connect() as connection:
            assert connection.scalar(OWN) != ended


def test_a_connection_that_has_something_to_say_is_kept(engine: Engine) -> None:
    """A notice to be read is no end."""
    with engine.connect() as other:
        with engine.connect() as idle:
            kept = idle.scalar(OWN)
            idle.execute(text("LISTEN news"))
            idle.commit()
        other.execute(text("NOTIFY news"))
        other.commit()

        with engine.connect() as connection:
            assert connection.scalar(OWN) == kept


def test_every_core_may_have_a_serving_process_with_a_full_pool(engine: Engine) -> None:
    """And what else works on the same database has its connections beside."""
    assert isinstance(engine.pool, QueuePool)
    pool = engine.pool.size() + engine.pool._max_overflow

    with engine.connect() as connection:
        most = connection.scalar(text("SHOW max_connections"))

    assert int(most) >= 100 + pool * (os.cpu_count() or 1)


def test_what_psycopg_runs_by_itself_fails_like_the_rest(engine: Engine) -> None:
    with pytest.raises(DBAPIError, match="division by zero"), Session(engine) as session:
        rows(session, "SELECT 1 / %(number)s", {"number": 0})

    with pytest.raises(DatabaseLostError), one_line_errors(), Session(engine) as session:
        rows(session, "SELECT pg_terminate_backend(pg_backend_pid())", {})


def test_a_number_that_no_column_holds_is_an_error_in_one_line(engine: Engine) -> None:
    with pytest.raises(NumberTooLargeError), one_line_errors(), Session(engine) as session:
        rows(session, "SELECT %(number)s::bigint", {"number": 2**63})

    with Session(engine) as session:
        assert rows(session, "SELECT 7 AS number", {})[0].number == 7


def test_what_is_asked_together_answers_in_any_order_and_sees_one_state(engine: Engine) -> None:
    sessions = sessionmaker(engine)
    with snapshot(sessions) as session:
        with together(session):
            begin_snapshot(session)
            first = ask(session, "SELECT now() AS time, %(number)s AS number", {"number": 1})
            level = ask(session, "SHOW transaction_isolation", {})
        with ending(session):
            last = ask(session, "SELECT now() AS time", {})

    assert last() == [first()[0][:1]]
    assert level() == [("repeatable read",)]
    with Session(engine) as other:
        # Whoever has the connection next gets it as it was.
        assert rows(other, "SHOW transaction_isolation", {})[0][0] == "read committed"


def ask_together(engine: Engine, *statements: str) -> None:
    with snapshot(sessionmaker(engine)) as session, together(session):
        begin_snapshot(session)
        for statement in statements:
            ask(session, statement, {})


def test_of_what_is_asked_together_the_first_that_failed_is_told(engine: Engine) -> None:
    with pytest.raises(DBAPIError, match="division by zero"):
        ask_together(engine, "SELECT 1 / 0", "SELECT nothing FROM nowhere")

    with pytest.raises(DatabaseLostError), one_line_errors():
        ask_together(engine, "SELECT pg_terminate_backend(pg_backend_pid())", "SELECT 1")

    with Session(engine) as session:
        assert rows(session, "SELECT 7 AS number", {})[0].number == 7


def test_a_vector_arrives_as_it_was(engine: Engine) -> None:
    halves = np.array([0.1, -2.5, 0.0, 65504.0], np.float16)

    with Session(engine) as session:
        statement = "SELECT %(vector)s::halfvec::text AS written"
        [row] = rows(session, statement, {"vector": HalfVector(halves)})

    assert np.array(json.loads(row.written), np.float16).tolist() == halves.tolist()
