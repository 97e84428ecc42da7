"""Whose turn it is to refresh an origin, and what is said of who was at it."""

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session, sessionmaker

from registry.db import holds, runs
from registry.db.adapters import Origin
from registry.db.models import CrawlRun

ORIGIN = Origin("folder", "/zoo")


def state(sessions: sessionmaker[Session]) -> str:
    with sessions() as session:
        [run] = runs.list_runs(session, before_id=None, limit=5)
        return run.state


def test_a_refresh_is_interrupted_when_nobody_holds_its_origin_any_more(
    engine: Engine, sessions: sessionmaker[Session]
) -> None:
    with runs.only_one(engine, ORIGIN):
        with sessions.begin() as session:
            runs.start_run(session, ORIGIN)
        assert state(sessions) == "running"

    assert state(sessions) == "interrupted"
    with runs.only_one(engine, Origin("folder", "/elsewhere")):
        assert state(sessions) == "interrupted"
    with sessions() as session:
        assert runs.list_interrupted(session) == session.scalars(select(CrawlRun.id)).all()


def test_a_refresh_keeps_its_turn_when_the_database_was_restarted(
    engine: Engine, sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock is gone then, though it goes on."""
    monkeypatch.setattr(holds, "KEPT_SECONDS", 0)
    with runs.only_one(engine, ORIGIN) as turn:
        with sessions.begin() as session:
            runs.start_run(session, ORIGIN)
            session.execute(
                text(
                    "SELECT pg_terminate_backend(pid, 10000) "
                    "FROM pg_locks JOIN pg_database ON pg_database.oid = database "
                    "WHERE locktype = 'advisory' AND datname = current_database()"
                )
            )
        assert state(sessions) == "interrupted"

        turn.keep()

        assert state(sessions) == "running"
    assert state(sessions) == "interrupted"
