"""Taking work for one's own, so that two processes never do the same at once."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    cast,
    column,
    func,
    literal_column,
    select,
    table,
)
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import InstrumentedAttribute

# A lock is looked after no more often: each time is a transaction.
KEPT_SECONDS = 0.5
_LOCKS = table(
    "pg_locks", *map(column, ("locktype", "database", "classid", "objid", "objsubid", "granted"))
)
_DATABASES = table("pg_database", column("oid"), column("datname"))


def lock_of(
    what: str, *keys: str | ColumnElement[str] | InstrumentedAttribute[str]
) -> ColumnElement[int]:
    """Return the number of the advisory lock that is held for `what` by its keys."""
    words = [part for key in keys for part in (" ", key)]
    return func.hashtextextended(func.concat(what, *words), 0)


def is_held(lock: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether a process that is alive, on any machine, holds an advisory lock."""
    database = select(_DATABASES.c.oid).where(_DATABASES.c.datname == func.current_database())
    # PostgreSQL shows a lock's number in two halves.
    high, low = cast(_LOCKS.c.classid, BigInteger), cast(_LOCKS.c.objid, BigInteger)
    return (
        select(_LOCKS.c.locktype)
        .where(
            _LOCKS.c.locktype == "advisory",
            _LOCKS.c.objsubid == 1,
            _LOCKS.c.granted,
            _LOCKS.c.database == database.scalar_subquery(),
            high.bitwise_lshift(literal_column("32")).bitwise_or(low) == lock,
        )
        .exists()
    )


class Turn:
    """An advisory lock that a connection of its own holds."""

    def __init__(self, connection: Connection, lock: ColumnElement[int]) -> None:
        self._connection, self._lock = connection, lock
        self._kept_at = time.monotonic()

    def keep(self) -> None:
        """Take the lock again where it went with a database that was restarted meanwhile.

        Unless another process has taken it since then. Cheap to call often.
        """
        if time.monotonic() - self._kept_at < KEPT_SECONDS:
            return
        self._kept_at = time.monotonic()
        try:
            self._connection.execute(select(1))
        except DBAPIError:
            self._connection.rollback()
            self._connection.execute(select(func.pg_try_advisory_lock(self._lock)))
        self._connection.commit()


@contextmanager
def hold(engine: Engine, what: str, keys: Sequence[str]) -> Iterator[list[str]]:
    """Give those of `keys` that nobody else holds for `what`, and hold them meanwhile.

    PostgreSQL does, by advisory locks of a connection of its own: a killed process lets go.
    """
    key = func.unnest(array(keys)).column_valued("key")
    lock = func.pg_try_advisory_lock(lock_of(what, key))
    with engine.connect() as connection:
        mine = [row.key for row in connection.execute(select(key, lock.label("held"))) if row.held]
        # The locks outlive the transaction, which must not stay open for hours.
        connection.commit()
        try:
            yield mine
        finally:
            # A connection that was lost holds nothing.
            with suppress(DBAPIError):
                connection.execute(select(func.pg_advisory_unlock_all()))
                connection.commit()
