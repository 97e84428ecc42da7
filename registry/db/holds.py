"""Taking work for one's own, so that two processes never do the same at once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from sqlalchemy import (
    BigInteger,
    ColumnElement,
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
