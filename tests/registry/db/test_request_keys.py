"""Keys of requests, and the answers that are kept for them."""

from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from registry.db import request_keys
from registry.db.request_keys import LIFETIME, LOST_AFTER, ROW_BYTES, KeptAnswer
from registry.db.work_models import RequestKey
from registry.errors import RequestKeyError, RequestUnderWayError

ANSWER = KeptAnswer(202, {"content-type": "text/plain"}, b"done")


def age(session: Session, by: timedelta) -> None:
    session.execute(update(RequestKey).values(created_at=RequestKey.created_at - by))
    session.expire_all()


def test_a_key_is_taken_once_and_answers_from_then_on(session: Session) -> None:
    assert request_keys.claim(session, "key", "a") is None
    with pytest.raises(RequestUnderWayError):
        request_keys.claim(session, "key", "a")
    request_keys.keep(session, "key", ANSWER)
    session.expire_all()

    assert request_keys.claim(session, "key", "a") == ANSWER
    with pytest.raises(RequestKeyError):
        request_keys.claim(session, "key", "b")
    age(session, LIFETIME * 2)
    assert request_keys.claim(session, "key", "b") is None


def test_what_was_given_back_or_lost_can_be_taken_again(session: Session) -> None:
    """A server that is killed gives nothing back."""
    request_keys.claim(session, "key", "a")
    request_keys.give_back(session, "key")
    assert request_keys.claim(session, "key", "b") is None

    age(session, LOST_AFTER * 2)
    assert request_keys.claim(session, "key", "c") is None


def test_the_oldest_answers_go_where_there_is_no_room_for_all(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_keys, "MOST_BYTES", 2 * ROW_BYTES + 100)
    for number in range(4):
        request_keys.claim(session, f"key {number}", "a")
        request_keys.keep(session, f"key {number}", ANSWER)
        age(session, timedelta(seconds=1))

    assert request_keys.claim(session, "key 3", "a") == ANSWER
    assert request_keys.claim(session, "key 2", "a") == ANSWER
    assert request_keys.claim(session, "key 0", "a") is None
