"""Answers that are given again while the database is what it was."""

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from registry import measures
from registry.measures import Cache, Stage
from registry.retrieval import remembered
from registry.retrieval.filters import Filters
from registry.retrieval.given_values import Paging
from registry.retrieval.remembered import Remembered, state_of
from registry.retrieval.results import SearchPage
from registry.service import Registry
from registry.text.cached_encoder import LONGEST_KEPT
from tests.builders import add_adapter


class Asked:
    """Counts how often answers were remembered, and how often not."""

    def __init__(self) -> None:
        self.hits = self.misses = 0

    def took(self, stage: Stage, seconds: float) -> None:
        pass

    def asked(self, cache: Cache, hits: int, misses: int) -> None:
        if cache == "answers":
            self.hits += hits
            self.misses += misses


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    listener = Asked()
    monkeypatch.setattr(measures, "_listener", listener)
    return listener


def names(page: SearchPage) -> list[str]:
    return [result.card.name for result in page.results]


@pytest.fixture
def foxes(registry: Registry) -> Registry:
    with registry.sessions.begin() as session:
        add_adapter(session, name="red fox", words="red fox")
    return registry


def test_what_is_asked_again_is_not_looked_for_again(foxes: Registry, asked: Asked) -> None:
    first = foxes.search("fox")
    again = foxes.search("fox")

    assert (asked.hits, asked.misses) == (1, 1)
    assert names(again) == names(first) == ["red fox"]
    assert again.results is first.results


@pytest.mark.parametrize("question", ["fox", ""])
def test_what_was_added_is_found_at_once(foxes: Registry, question: str) -> None:
    before = foxes.search(question)
    with foxes.sessions.begin() as session:
        add_adapter(session, name="blue fox", words="blue fox")
    after = foxes.search(question)

    shown = [names(page) or [card.name for card in page.listed] for page in (before, after)]
    assert sorted(shown[0]) == ["red fox"]
    assert sorted(shown[1]) == ["blue fox", "red fox"]


def test_what_is_under_way_is_found_when_it_is_committed(foxes: Registry) -> None:
    """Older transactions may end after younger ones."""
    with foxes.sessions() as older, foxes.sessions() as younger:
        add_adapter(older, name="old fox", words="old fox")
        older.flush()
        add_adapter(younger, name="young fox", words="young fox")
        younger.commit()
        meanwhile = foxes.search("fox")
        assert names(foxes.search("fox")) == names(meanwhile)
        older.commit()
        after = foxes.search("fox")

    assert sorted(names(meanwhile)) == ["red fox", "young fox"]
    assert sorted(names(after)) == ["old fox", "red fox", "young fox"]


def test_counts_and_pages_follow_what_changes(foxes: Registry, asked: Asked) -> None:
    for _ in range(2):
        assert [card.name for card in foxes.browse().cards] == ["red fox"]
        assert foxes.facets().total.count == 1
    assert asked.hits == 2
    with foxes.sessions.begin() as session:
        add_adapter(session, name="blue fox", words="blue fox")

    assert {card.name for card in foxes.browse().cards} == {"blue fox", "red fox"}
    assert foxes.facets().total.count == 2


def test_other_questions_have_other_answers(foxes: Registry, asked: Asked) -> None:
    foxes.search("fox")
    foxes.search("fox", paging=Paging(limit=1))
    foxes.search("fox", paging=Paging(sort="name"))
    foxes.search("fox", filters=Filters(mature="hide"))
    foxes.search("everything")
    foxes.search("")

    assert asked.hits == 0


def test_a_long_question_is_not_remembered(foxes: Registry, asked: Asked) -> None:
    for question in 2 * [LONGEST_KEPT * "x", (LONGEST_KEPT + 1) * "x"]:
        foxes.search(question)

    assert (asked.hits, asked.misses) == (1, 3)


def test_what_is_ranked_takes_room_beside_what_is_shown(foxes: Registry, asked: Asked) -> None:
    with foxes.sessions.begin() as session:
        for _ in range(100):
            add_adapter(session, name="fox", words="fox")
    foxes.finder.remembered = Remembered(most_adapters=5)

    for question in ("fox", "a fox", "fox"):
        assert len(foxes.search(question, paging=Paging(limit=1, sort="name")).ranked) == 101

    assert asked.hits == 0


def test_those_asked_for_longest_ago_are_forgotten(session: Session) -> None:
    few, state = Remembered(most_adapters=30), state_of(session)
    for question in "abc":
        few.keep(question, state, question, adapters=9)
    assert few.find(session, "a") == "a"

    few.keep("d", state, "d", adapters=9)

    found = [few.find(session, question) for question in "abcd"]
    assert found == ["a", None, "c", "d"]


def test_an_answer_larger_than_all_that_is_kept_is_forgotten(session: Session) -> None:
    few, state = Remembered(most_adapters=30), state_of(session)
    few.keep("large", state, "large", adapters=30)
    few.keep("small", state, "small", adapters=3)

    assert few.find(session, "large") is None
    assert few.find(session, "small") == "small"


def test_a_standby_remembers_nothing(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    in_recovery = remembered.STATE.replace("pg_is_in_recovery()", "true")
    monkeypatch.setattr(remembered, "STATE", in_recovery)
    few = Remembered()

    few.keep("fox", state_of(session), "found", adapters=1)

    assert state_of(session) is None
    assert few.find(session, "fox") is None


def test_a_restart_is_another_state(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was committed and not yet on disk may be lost with it."""
    before = state_of(session)
    later = remembered.STATE.replace(
        "pg_postmaster_start_time()", "(pg_postmaster_start_time() + '1 second'::interval)"
    )
    monkeypatch.setattr(remembered, "STATE", later)

    assert state_of(session) != before
    session.execute(text("SELECT 1"))
