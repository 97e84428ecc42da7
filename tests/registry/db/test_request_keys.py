"""Keys of requests, and the answers that are kept for them."""

from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from registry.db import request_keys
from registry.db.request_keys import LIFETIME, LOST_AFTER, ROW_BYTES, ClaimedKey, KeptAnswer
from registry.db.work_models import RequestKey
from registry.errors import RequestKeyError, RequestUnderWayError

ANSWER = KeptAnswer(202, {"content-type": "text/plain"}, b"done")
KEY = ClaimedKey("key", "one")
LATER = ClaimedKey("key", "other")


def age(session: Session, by: timedelta) -> None:
    session.execute(
        update(RequestKey).values(
            created_at=RequestKey.created_at - by, seen_at=RequestKey.seen_at - by
        )
    )
    session.expire_all()


def test_a_key_is_taken_once_and_answers_from_then_on(session: Session) -> None:
    assert request_keys.claim(session, KEY, "a") is None
    with pytest.raises(RequestUnderWayError):
        request_keys.claim(session, KEY, "a")
    request_keys.keep(session, KEY, ANSWER)
    session.expire_all()

    assert request_keys.claim(session, KEY, "a") == ANSWER
    with pytest.raises(RequestKeyError):
        request_keys.claim(session, KEY, "b")
    age(session, LIFETIME * 2)
    assert request_keys.claim(session, KEY, "b") is None


def test_what_was_given_back_or_lost_can_be_taken_again(session: Session) -> None:
    """A server that is killed gives nothing back."""
    request_keys.claim(session, KEY, "a")
    request_keys.give_back(session, KEY)
    assert request_keys.claim(session, KEY, "b") is None

    age(session, LOST_AFTER * 2)
    assert request_keys.claim(session, KEY, "c") is None


def test_the_oldest_answers_go_where_there_is_no_room_for_all(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_keys, "MOST_BYTES", 2 * ROW_BYTES + 100)
    for number in range(4):
        key = ClaimedKey(f"key {number}", "one")
        request_keys.claim(session, key, "a")
        request_keys.keep(session, key, ANSWER)
        age(session, timedelta(seconds=1))

    assert request_keys.claim(session, ClaimedKey("key 3", "other"), "a") == ANSWER
    assert request_keys.claim(session, ClaimedKey("key 2", "other"), "a") == ANSWER
    assert request_keys.claim(session, ClaimedKey("key 0", "other"), "a") is None


def test_a_request_that_takes_long_is_not_lost_while_it_is_told_of(session: Session) -> None:
    request_keys.claim(session, KEY, "a")
    age(session, LIFETIME * 2)
    request_keys.renew(session, KEY)

    with pytest.raises(RequestUnderWayError):
        request_keys.claim(session, LATER, "a")


def test_who_was_taken_for_lost_changes_nothing_of_who_came_after(session: Session) -> None:
    request_keys.claim(session, KEY, "a")
    age(session, LOST_AFTER * 2)
    assert request_keys.claim(session, LATER, "a") is None

    request_keys.give_back(session, KEY)
    request_keys.keep(session, KEY, ANSWER)
    age(session, LOST_AFTER / 2)
    request_keys.renew(session, KEY)
    age(session, LOST_AFTER)

    assert session.get_one(RequestKey, "key").status is None
    assert request_keys.claim(session, KEY, "a") is None


def test_what_died_before_the_clock_was_set_back_is_lost_all_the_same(session: Session) -> None:
    request_keys.claim(session, KEY, "a")
    age(session, -LOST_AFTER * 2)

    assert request_keys.claim(session, LATER, "a") is None


def test_what_is_being_answered_does_not_go_for_want_of_room(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be done again."""
    monkeypatch.setattr(request_keys, "MOST_BYTES", 0)
    request_keys.claim(session, KEY, "a")
    answered = ClaimedKey("another", "one")
    request_keys.claim(session, answered, "a")

    request_keys.keep(session, answered, ANSWER)

    with pytest.raises(RequestUnderWayError):
        request_keys.claim(session, LATER, "a")
