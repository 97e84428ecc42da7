"""Bring a database's schema to what this code expects."""

from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from registry.errors import DatabaseError

# Alembic is loaded where there is something to migrate: it takes a tenth of a cold search.
if TYPE_CHECKING:
    from alembic.config import Config

_PACKAGE = Path(__file__).parents[1]
_FROM_A_WHEEL = _PACKAGE / "migrations"
# In the repository they lie at its top; setup.py takes them into the wheel's package.
MIGRATIONS = _FROM_A_WHEEL if _FROM_A_WHEEL.is_dir() else _PACKAGE.parent / "migrations"

# Vacuuming an HNSW index that is written to could spoil it, or fail, before this one:
# https://github.com/pgvector/pgvector/issues/993
LEAST_PGVECTOR = (0, 8, 4)

# What makes a database that holds all letters and knows them: that of a server whose locale is "C"
# is SQL_ASCII, whose texts are bytes.
MAKES_DATABASE = (
    "`CREATE DATABASE name TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'`"
)

# What a migration meets in tables that no release made.
_OTHER_TABLES = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedObject,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.DuplicateTable,
    psycopg.errors.DuplicateColumn,
    psycopg.errors.DuplicateObject,
)

# Any number no other program locks; these are the letters "ALR" and a 1.
_ADVISORY_LOCK = 0x414C5201


def alembic_config(connection: Connection | None = None) -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def migrate(engine: Engine) -> None:
    """Migrate to the newest revision. Harmless when there already, or when run twice at once.

    Raises:
        DatabaseError: it does not answer, is not in UTF-8, an extension or room is missing, or the
            schema is newer than this code, or of no release.
    """
    try:
        with engine.connect() as connection:
            check_encoding(connection)
            if stored_revision(connection) == last_revision():
                _check_pgvector(connection)
                return
            # Of two processes that start together one migrates, the other finds it done.
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _ADVISORY_LOCK})
            connection.commit()
            try:
                _upgrade(connection)
                _check_pgvector(connection)
            finally:
                connection.rollback()
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _ADVISORY_LOCK})
                connection.commit()
    except DBAPIError as error:
        cause = str(error.orig).splitlines()[0]
        if is_lost(error.orig):
            raise unreachable(engine.url, cause) from error
        if isinstance(error.orig, psycopg.OperationalError):
            # No room, or somebody else has what is to be changed.
            raise DatabaseError(
                f"the database could not be migrated: {cause}. What was stored is safe: mend that, "
                "then run the same command again."
            ) from error
        if isinstance(error.orig, _OTHER_TABLES) and _is_made(engine):
            raise DatabaseError(
                f"the database could not be migrated: {cause}. Its tables are not those that a "
                "release made, but of a version before the first, or changed by somebody. What "
                "was stored is safe: the version that made them opens it, or set REGISTRY_HOME to "
                "an empty folder (REGISTRY_DATABASE_URL to an empty database) and refresh again."
            ) from error
        raise DatabaseError(
            f"the database could not be migrated: {cause}. "
            "It needs PostgreSQL 14 or later with the extensions vector (0.8.4) and pg_trgm, and "
            "a role that may create tables, and extensions unless they are there: what a superuser "
            "made by `CREATE EXTENSION vector` and `CREATE EXTENSION pg_trgm` is enough."
        ) from error


def is_lost(error: BaseException | None) -> bool:
    """Whether the connection or the server is what failed, and not a statement."""
    # 08 and 57P are lost connections and shutdowns; who was not let in has no state.
    # https://www.postgresql.org/docs/18/errcodes-appendix.html
    state = getattr(error, "sqlstate", None) or "08000"
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and (
        state.startswith(("08", "57P"))
    )


def unreachable(url: URL, cause: str) -> DatabaseError:
    """The error of a database that does not answer, or does not let us in."""
    return DatabaseError(
        f"the database {_shown(url)} cannot be reached: {cause}. "
        "Start it, or correct REGISTRY_DATABASE_URL."
    )


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.util import CommandError

    try:
        command.upgrade(alembic_config(connection), "head")
    except CommandError as error:
        raise DatabaseError(
            f"the database's schema is not one this version knows ({error}). "
            f"It knows up to {newest_revision()}: update the registry."
        ) from error
    connection.commit()


def check_encoding(connection: Connection) -> None:
    """Refuse a database that cannot hold every letter."""
    encoding = connection.scalar(text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise DatabaseError(
            f"the database has the encoding {encoding}, and texts here need UTF8. Name one in "
            f"REGISTRY_DATABASE_URL that was made by {MAKES_DATABASE}."
        )


def stored_revision(connection: Connection) -> str | None:
    """Return the revision that a database is at; None for one that was never migrated."""
    if connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def _is_made(engine: Engine) -> bool:
    """Whether a database was migrated before, so that its extensions and rights were enough."""
    with engine.connect() as connection:
        return stored_revision(connection) is not None


def last_revision() -> str:
    """Return the newest revision by the names of the migrations, which begin with theirs."""
    return max(path.name for path in (MIGRATIONS / "versions").glob("[0-9]*.py")).split("_")[0]


def _check_pgvector(connection: Connection) -> None:
    version = connection.scalar(
        text("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
    )
    if is_old_pgvector(str(version)):
        least = ".".join(map(str, LEAST_PGVECTOR))
        raise DatabaseError(
            f"the database has pgvector {version}; search needs {least} or later. "
            "Install it, and run ALTER EXTENSION vector UPDATE."
        )


def is_old_pgvector(version: str) -> bool:
    """Whether a version of pgvector, such as "0.8.6", is below what search needs."""
    return tuple(int(part) for part in version.split(".")) < LEAST_PGVECTOR


def _shown(url: URL) -> str:
    """Return a database's address for messages: without the ways to give a password."""
    harmless = {name: url.query[name] for name in ("host", "port") if name in url.query}
    return url.set(password=None, query=harmless).render_as_string()


def newest_revision() -> str | None:
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(alembic_config()).get_current_head()
