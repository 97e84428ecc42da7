"""Answers that are given again while the database is what it was when they were found.

Two snapshots of PostgreSQL that are written alike see the same rows: whatever was committed
between them had a transaction id, and the later one would say so [1]. So nobody has to tell which
answers a change concerns, and none is ever out of date. After a restart, which may lose what was
not yet on disk, nothing is given again.

- [1] https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-SNAPSHOT
"""

import sys
import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from cachetools import LRUCache
from sqlalchemy.orm import Session, sessionmaker

from registry.db.session import one_line_errors
from registry.measures import asked
from registry.retrieval.statements import Answer, ask, begin_snapshot, snapshot, together

T = TypeVar("T")

# A standby does not list the transactions that are under way on its primary: two of its snapshots
# that are written alike may differ.
STATE = """CASE WHEN NOT pg_is_in_recovery() THEN
    pg_current_snapshot()::text || ' ' || pg_postmaster_start_time()
END AS state"""
MOST_ADAPTERS = 4096
# Each takes so many bytes in an answer of the demo, and more where much is said of it; and so many
# the id of one that is only ranked.
ADAPTER_BYTES = 3000
ID_BYTES = 40


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer, the state of the database that it is of, and how many adapters weigh as much."""

    state: str
    answer: Any
    adapters: int


class Remembered:
    """The answers that were asked for last. Safe to share between threads."""

    def __init__(self, most_adapters: int = MOST_ADAPTERS) -> None:
        self._kept: LRUCache[Hashable, _Kept] = LRUCache(most_adapters, getsizeof=_weight)
        self._lock = threading.Lock()

    def find(self, session: Session, question: Hashable) -> Any | None:
        """Return the answer to what was asked before, if it is still true.

        Asks the database only where there is one; no snapshot of `session` has begun.
        """
        with self._lock:
            kept = self._kept.get(question)
        answer = kept.answer if kept and kept.state == state_of(session) else None
        asked("answers", hits=int(answer is not None), misses=int(answer is None))
        return answer

    def keep(self, question: Hashable, state: str | None, answer: Any, adapters: int) -> None:
        """Keep an answer of a `state` of the database, unless it is None: it may be any."""
        if state is None:
            return
        kept = _Kept(state, answer, adapters)
        with self._lock:
            if _weight(kept) <= self._kept.maxsize:
                self._kept[question] = kept

    def again(
        self,
        sessions: sessionmaker[Session],
        question: Hashable,
        answer: Callable[[Session], T],
        adapters: int = 0,
    ) -> T:
        """Return what `answer` finds in one state of the database, or has found in the same."""
        with one_line_errors(), snapshot(sessions) as session:
            known: T | None = self.find(session, question)
            if known is not None:
                return known
            with together(session):
                begin_snapshot(session)
                told = _ask_state(session)
            state, found = told(), answer(session)
        self.keep(question, state, found, adapters)
        return found


def weigh(adapters: int, ids: Sequence[int], texts: Iterable[str]) -> int:
    """Return what an answer and its question take in memory, in adapters that are shown."""
    others = ID_BYTES * len(ids) + sum(map(sys.getsizeof, texts))
    return adapters + others // ADAPTER_BYTES


def state_of(session: Session) -> str | None:
    """Return what tells the state of the database that a session sees from all others.

    None on a standby, where nothing does.
    """
    return _ask_state(session)()


def _ask_state(session: Session) -> Answer[str | None]:
    told = ask(session, f"SELECT {STATE}", {})

    def answer() -> str | None:
        [seen] = told()
        state: str | None = seen.state
        return state

    return answer


def _weight(kept: _Kept) -> int:
    return kept.adapters + 1
