"""What opens a search, and what stays of its statements."""

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from registry.db.encoders import active_encoders
from registry.retrieval import statements
from registry.retrieval.filters import Filters
from registry.retrieval.known_values import base_models_listed
from registry.retrieval.opening import ask_opening
from registry.retrieval.statements import SETTINGS, believed, prepare
from registry.service import Registry
from tests.builders import active_encoder, add_adapter, add_encoder
from tests.registry.conftest import add_real_encoder, embed


def test_one_statement_tells_what_several_would(session: Session) -> None:
    add_adapter(session, base_model="sd-1.5")
    add_adapter(session, base_model="pony")
    add_encoder(session)

    opened = ask_opening(session)()

    assert opened.base_models == base_models_listed(session)
    assert [e.name for e in opened.encoders] == [e.name for e in active_encoders(session)]
    assert [encoder.calibration for encoder in opened.encoders] == [
        encoder.calibration for encoder in active_encoders(session)
    ]
    shown = {name: session.scalar(text(f"SHOW {name}")) for name in SETTINGS}
    assert shown == SETTINGS


def test_plans_are_made_anew_only_where_that_is_asked_for(session: Session) -> None:
    modes = []
    for anew in (False, True, False):
        prepare(session, anew=anew)
        modes.append(session.scalar(text("SHOW plan_cache_mode")))

    assert modes == ["force_generic_plan", "force_custom_plan", "force_generic_plan"]


def test_statements_of_a_search_stay_prepared(registry: Registry) -> None:
    """At a rollback psycopg forgets them all: planning took half of PostgreSQL's time."""
    with registry.sessions.begin() as session:
        add_adapter(session, name="fox", words="fox")

    # psycopg prepares what it has run five times.
    for number in range(7):
        registry.search(f"fox {number}")

    with registry.sessions.begin() as session:
        found = session.scalars(text("SELECT statement FROM pg_prepared_statements")).all()
    assert any("listing_words" in statement for statement in found)


def test_few_descriptions_are_asked_for_once(registry: Registry) -> None:
    """By the index, it would be found only then that there are no more to find."""
    with registry.sessions.begin() as session:
        add_adapter(session, name="fox", words="fox")

    for number in range(7):
        registry.search(f"fox {number}")

    with registry.sessions.begin() as session:
        found = session.scalars(text("SELECT statement FROM pg_prepared_statements")).all()
    [asked] = [one for one in found if "= description_embeddings.adapter_id" in one]
    assert "+ 0 LIMIT" in asked


def test_base_models_are_asked_for_once(registry: Registry) -> None:
    """Also where one is named, which has to be among them."""
    with registry.sessions.begin() as session:
        add_adapter(session, name="fox", words="fox")

    for number in range(7):
        registry.search(f"fox {number}", Filters(("demo-flux-tiny",)))

    with registry.sessions.begin() as session:
        found = session.scalars(text("SELECT statement FROM pg_prepared_statements")).all()
    [asked] = [one for one in found if "WITH RECURSIVE" in one and "base_model" in one]
    assert "AS base_models" in asked


def test_the_first_search_waits_for_no_encoder(registry: Registry) -> None:
    add_real_encoder(registry)
    with registry.sessions.begin() as session:
        add_adapter(session, embedding=embed(registry, "a fox"))
        checkpoint = active_encoder(session, "demo-flux-tiny").checkpoint_sha256

    registry.warm_up()
    registry.blobs.path(checkpoint).unlink()

    assert registry.search("a fox").results[0].hit.signals["weights"]


@pytest.mark.parametrize("lacking", ["adapters", "encoder", "checkpoint"])
def test_a_server_starts_whatever_a_search_lacks(registry: Registry, lacking: str) -> None:
    with registry.sessions.begin() as session:
        if lacking != "adapters":
            add_adapter(session)
        if lacking == "checkpoint":
            add_encoder(session)

    registry.warm_up()


def test_what_is_told_of_a_database_is_believed_for_a_while(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = iter(range(3))

    first = [believed(session, "test", lambda: next(told)) for _ in range(2)]
    monkeypatch.setattr(statements, "BELIEVED_SECONDS", -1.0)

    assert [*first, believed(session, "test", lambda: next(told))] == [0, 0, 1]
