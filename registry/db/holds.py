"""Taking work for one's own, so that two processes never do the same at once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from sqlalchemy import Engine, func, select
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.exc import DBAPIError


@contextmanager
def hold(engine: Engine, what: str, keys: Sequence[str]) -> Iterator[list[str]]:
    """Give those of `keys` that nobody else holds for `what`, and hold them meanwhile.

    PostgreSQL does, by advisory locks of a connection of its own: a killed process lets go.
    """
    key = func.unnest(array(keys)).column_valued("key")
    lock = func.pg_try_advisory_lock(func.hashtextextended(func.concat(what, " ", key), 0))
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
