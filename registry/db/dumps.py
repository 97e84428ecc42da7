"""The whole database as one file, by PostgreSQL's own pg_dump and pg_restore."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import Connection as PsycopgConnection
from psycopg.conninfo import make_conninfo
from psycopg.errors import InsufficientPrivilege
from sqlalchemy import Connection, Engine, func, inspect, select, table, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from registry.db.migrate import alembic_config
from registry.db.postgres_programs import find_client, run_client
from registry.errors import DatabaseError

# Those that the first migration adds.
EXTENSIONS = ("vector", "pg_trgm")


@dataclass(frozen=True, slots=True)
class DumpFacts:
    """The schema's revision in a dump, and the rows of each of its tables."""

    revision: str
    rows: dict[str, int]


@contextmanager
def written_dump(engine: Engine, path: Path) -> Iterator[tuple[DumpFacts, Session]]:
    """Write the database to a file, as it is at one moment; others may write meanwhile.

    Gives what is in it, and a session that sees the same moment.

    Raises:
        DatabaseError: it cannot be read, or the file cannot be written.
    """
    with _snapshot(engine) as (connection, snapshot):
        facts = DumpFacts(_revision(connection), count_rows(connection))
        words = ["--format=custom", f"--snapshot={snapshot}", f"--file={path}"]
        # Who restores it may be another role, in a database of their own.
        words += ["--no-owner", "--no-privileges", "--no-comments"]
        _run("pg_dump", connection, *words)
        with Session(connection) as session:
            yield facts, session


def read_dump(engine: Engine, path: Path) -> None:
    """Fill an empty database from a file, in one transaction: all of it is there, or nothing.

    Raises:
        DatabaseError: the file is none of ours, the database is not empty, or its role may not
            add the extensions.
    """
    with engine.connect() as connection:
        words = ["--single-transaction", "--no-owner", "--no-privileges", "--no-comments"]
        try:
            _run("pg_restore", connection, *words, str(path))
        except DatabaseError as error:
            if _may_add_extensions(connection):
                raise
            raise DatabaseError(
                f"{error}. Have a superuser run `CREATE EXTENSION vector` and `CREATE EXTENSION "
                "pg_trgm` in this database, then run the same command again."
            ) from error


def count_rows(connection: Connection) -> dict[str, int]:
    """Return how many rows each table has, by its name."""
    return {
        name: connection.scalar(select(func.count()).select_from(table(name))) or 0
        for name in sorted(inspect(connection).get_table_names())
    }


def has_tables(connection: Connection) -> bool:
    return bool(inspect(connection).get_table_names())


def is_known_revision(revision: str) -> bool:
    """Whether this version can migrate a database from a revision of the schema."""
    scripts = ScriptDirectory.from_config(alembic_config())
    return revision in {script.revision for script in scripts.walk_revisions()}


def _revision(connection: Connection) -> str:
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None:
        raise DatabaseError("the database has no schema yet: there is nothing to keep.")
    return revision


@contextmanager
def _snapshot(engine: Engine) -> Iterator[tuple[Connection, str]]:
    """Give a connection that sees one moment, and the moment's name for other connections."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        yield connection, connection.execute(text("SELECT pg_export_snapshot()")).scalar_one()


def _may_add_extensions(connection: Connection) -> bool:
    """Whether a role may add what the schema needs, or it is there; nothing is changed.

    The server is asked, for pg_restore tells of errors in words alone, of whatever language.
    """
    try:
        for name in EXTENSIONS:
            connection.execute(text(f"CREATE EXTENSION IF NOT EXISTS {name}"))
    except ProgrammingError as error:
        return not isinstance(error.orig, InsufficientPrivilege)
    finally:
        connection.rollback()
    return True


def _run(program: str, connection: Connection, *words: str) -> None:
    """Run a program on the database that a connection leads to."""
    driver = connection.connection.dbapi_connection
    assert isinstance(driver, PsycopgConnection)
    tls, major = driver.pgconn.ssl_in_use, driver.info.server_version // 10_000
    parameters = driver.info.get_parameters()
    if tls and parameters.get("sslmode", "prefer") in ("allow", "prefer"):
        # Else it would take a connection in the clear for as good.
        parameters["sslmode"] = "require"
    client = find_client(program, tls=tls, major=major)
    address = make_conninfo(**parameters)
    done, said = run_client(
        client, f"--dbname={address}", *words, password=driver.info.password or None
    )
    if not done:
        lines = [line for line in said.splitlines() if "error:" in line] or said.splitlines()
        line = lines[0].strip() if lines else "it says nothing"
        raise DatabaseError(f"{program} failed: {line}")
