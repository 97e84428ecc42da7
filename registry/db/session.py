"""Sessions on the embedded or on a given PostgreSQL."""

import select
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import psycopg
from pgvector import HalfVector
from pgvector.psycopg.halfvec import HalfVectorBinaryDumper
from sqlalchemy import Connection, Engine, create_engine, event, func, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session, sessionmaker

from registry.config import Settings
from registry.db.embedded import EmbeddedPostgres, has_database
from registry.db.migrate import is_lost, migrate, unreachable
from registry.errors import (
    DatabaseAwayError,
    DatabaseBusyError,
    DatabaseError,
    DatabaseLostError,
    DatabaseRightsError,
    DiskFullError,
    NumberTooLargeError,
    RegistryError,
)

# Vectors go to PostgreSQL as bytes: to write one as text takes a third of a millisecond. Engines
# know what was registered before they were made.
psycopg.adapters.register_dumper(HalfVector, HalfVectorBinaryDumper)

# What a role may not do, and what a server that only reads does for nobody.
_NOT_ALLOWED = (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction)


@contextmanager
def open_database(settings: Settings) -> Iterator[sessionmaker[Session]]:
    """Give sessions on a database at the newest schema; its engine is `sessions.kw["bind"]`.

    Who only reads should take `sessions.begin()` too: a transaction that ends otherwise is rolled
    back, and with that psycopg forgets every statement that it has prepared on the connection.

    Raises:
        DatabaseError: it cannot be started, reached or migrated.
    """
    with open_engine(settings) as engine:
        migrate(engine)
        yield sessionmaker(engine, expire_on_commit=False)


@contextmanager
def open_engine(settings: Settings) -> Iterator[Engine]:
    """Give an engine, starting the embedded PostgreSQL where no other is named."""
    if settings.database_url is not None:
        engine = connect(settings.database_url)
        try:
            yield engine
        finally:
            engine.dispose()
        return
    if is_away(settings):
        raise DatabaseAwayError(settings.postgres, settings.blobs)
    with EmbeddedPostgres(settings.postgres) as server:
        engine = connect(server.url())

        @event.listens_for(engine, "do_connect")
        def revive(
            dialect: Any, record: Any, args: list[Any], options: dict[str, Any]
        ) -> psycopg.Connection:
            """Start the server again when it was killed; its log replays what was committed."""
            try:
                return psycopg.connect(*args, **options)
            except psycopg.OperationalError:
                server.ensure_running()
                return psycopg.connect(*args, **(options | server.address()))

        try:
            yield engine
        finally:
            engine.dispose()


@contextmanager
def reached(engine: Engine) -> Iterator[Connection]:
    """Give the first connection; whoever is not let in is told of the address, not of a loss.

    Raises:
        DatabaseError: nothing answers there, or it lets nobody in.
    """
    try:
        connection = engine.connect()
    except OperationalError as error:
        raise unreachable(engine.url, str(error.orig).splitlines()[0]) from error
    with connection:
        yield connection


def is_away(settings: Settings) -> bool:
    """Whether the embedded database is missing from a home that was used: it has blobs.

    A new one in its place would be a registry that has lost everything without a word.
    """
    if settings.database_url is not None or has_database(settings.postgres):
        return False
    return any(settings.blobs.glob("[0-9a-f][0-9a-f]/*"))


def connect(url: str | URL) -> Engine:
    """Make an engine whose pool replaces connections that a restart of the server broke."""
    address = url if isinstance(url, URL) else _with_driver(url)
    engine = create_engine(
        address,
        pool_size=10,
        max_overflow=10,
        pool_timeout=10,
        # libpq would wait for minutes for a host that does not answer; and a connection that is
        # silent for hours, because it holds a lock, may be forgotten by what lies between. Without
        # an encoding of the client's own, texts are bytes where the database's is SQL_ASCII.
        connect_args={
            "connect_timeout": 10,
            "keepalives_idle": 60,
            "keepalives_interval": 20,
            "client_encoding": "utf8",
        },
    )
    event.listen(engine, "checkout", _check_alive)
    return engine


def _check_alive(connection: psycopg.Connection, *_: object) -> None:
    """Have the pool replace its connections where the server has ended this one.

    An idle connection has hardly anything else to say. So the server is asked only where there is
    something to be read: to ask each time is a round trip more for every request.
    """
    unread = select.poll()
    unread.register(connection.fileno(), select.POLLIN)
    if unread.poll(0):
        try:
            connection.execute("SELECT 1")
            connection.commit()
        except psycopg.OperationalError as error:
            raise InvalidatePoolError from error


def _with_driver(url: str) -> URL:
    parsed: URL | None = None
    with suppress(ArgumentError, ValueError):
        parsed = make_url(url)
    # Behind an @ of its own, a password's rest is taken for the host, which messages name.
    if parsed is None or "@" in f"{parsed.host}{parsed.database}":
        # Without its cause, which quotes the address, and the password in it.
        raise DatabaseError(
            "REGISTRY_DATABASE_URL is no address; write postgresql://user:password@host/database, "
            "and signs such as @ in a password as %40."
        )
    if parsed.drivername in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername != "postgresql+psycopg":
        raise DatabaseError(
            f"REGISTRY_DATABASE_URL names {parsed.drivername!r}; only postgresql:// works, "
            "for search needs pgvector."
        )
    return parsed


def now(session: Session) -> datetime:
    """Return the database's time, which all machines share."""
    moment: datetime = session.execute(func.clock_timestamp()).scalar_one()
    return moment


@contextmanager
def transaction(sessions: sessionmaker[Session]) -> Iterator[Session]:
    """Give a session whose work is committed at the end; raises as `one_line_errors` does."""
    with one_line_errors(), sessions.begin() as session:
        yield session


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Translate what is not this statement's fault into our errors; let others pass.

    That is a lost connection, a full disk of the database, what its role may not do, no
    connection free in time, and a number of somebody's that no column holds.
    """
    try:
        yield
    except PoolTimeoutError as error:
        raise DatabaseBusyError from error
    except DBAPIError as error:
        raise translated(error) from error


def translated(error: DBAPIError) -> RegistryError | DBAPIError:
    """Our error for what `one_line_errors` translates; else `error` itself."""
    cause = str(error.orig).strip().splitlines()
    line = cause[0] if cause else type(error.orig).__name__
    if isinstance(error.orig, psycopg.errors.DiskFull):
        return DiskFullError(f"the database ({line})")
    if isinstance(error.orig, psycopg.errors.NumericValueOutOfRange):
        return NumberTooLargeError(line)
    if isinstance(error.orig, _NOT_ALLOWED):
        return DatabaseRightsError(line)
    lost = error.connection_invalidated or is_lost(error.orig)
    return DatabaseLostError(line) if lost else error
