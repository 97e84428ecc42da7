"""Requests that were named by a key, and what was answered, for who sends one again.

Who answers one says now and then that it is at work. Answers are kept for a day, as long as there
is room. The semantics are those of the IETF's draft [1].

- [1] https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry.db.work_models import RequestKey
from registry.errors import RequestKeyError, RequestUnderWayError

LIFETIME = timedelta(days=1)
# A request of which nothing was heard for so long was lost with its server
# (registry.api.idempotency says how often it tells).
LOST_AFTER = timedelta(minutes=2)
# Of all answers together, and what a row counts beside its answer.
MOST_BYTES = 100_000_000
ROW_BYTES = 10_000
_UNDER_WAY = RequestKey.status.is_(None)


@dataclass(frozen=True)
class ClaimedKey:
    """A key by its name, as one attempt to answer holds it: `owner` is no other attempt's."""

    name: str
    owner: str


@dataclass(frozen=True)
class KeptAnswer:
    """An answer as it was sent."""

    status: int
    headers: dict[str, str]
    body: bytes


def claim(session: Session, key: ClaimedKey, request_sha256: str) -> KeptAnswer | None:
    """Take a key for a request; or return what the same request was answered before.

    Raises:
        RequestKeyError: the key is that of another request.
        RequestUnderWayError: the same request is being answered.
    """
    # What a clock that was set back heard of later than now is silent too.
    heard_of = RequestKey.seen_at.between(func.now() - LOST_AFTER, func.now() + LOST_AFTER)
    lost = _UNDER_WAY & ~heard_of
    old = ~_UNDER_WAY & (RequestKey.created_at < func.now() - LIFETIME)
    session.execute(delete(RequestKey).where(lost | old))
    taking = insert(RequestKey).values(
        name=key.name, owner=key.owner, request_sha256=request_sha256
    )
    # Of two at once, the second waits here for the first.
    if session.scalar(taking.on_conflict_do_nothing().returning(RequestKey.name)) is not None:
        return None
    known = session.get(RequestKey, key.name)
    if known is not None and known.request_sha256 != request_sha256:
        raise RequestKeyError
    # It may have been given back at this moment.
    if known is None or known.status is None:
        raise RequestUnderWayError
    return KeptAnswer(known.status, known.headers, known.body or b"")


def renew(session: Session, key: ClaimedKey) -> None:
    """Say that a request is still being answered."""
    session.execute(update(RequestKey).where(*_held(key)).values(seen_at=func.now()))


def keep(session: Session, key: ClaimedKey, answer: KeptAnswer) -> None:
    """Keep what a request was answered; the oldest answers go where there is no room for all."""
    session.execute(
        update(RequestKey)
        .where(*_held(key))
        .values(status=answer.status, headers=answer.headers, body=answer.body)
    )
    size = func.coalesce(func.octet_length(RequestKey.body), 0) + ROW_BYTES
    newest_first = (RequestKey.created_at.desc(), RequestKey.name)
    sums = (
        select(RequestKey.name, func.sum(size).over(order_by=newest_first).label("bytes"))
        .where(~_UNDER_WAY)
        .subquery()
    )
    old = select(sums.c.name).where(sums.c.bytes > MOST_BYTES, sums.c.name != key.name)
    session.execute(delete(RequestKey).where(RequestKey.name.in_(old)))


def give_back(session: Session, key: ClaimedKey) -> None:
    """Forget a request that came to nothing, so that it can be sent again."""
    session.execute(delete(RequestKey).where(*_held(key)))


def _held(key: ClaimedKey) -> tuple[ColumnElement[bool], ...]:
    return RequestKey.name == key.name, RequestKey.owner == key.owner, _UNDER_WAY
