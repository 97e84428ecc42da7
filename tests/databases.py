"""Databases beside the one that tests share and empty."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import make_url, text

from registry.db.session import connect


@contextmanager
def database_beside(url: str, name: str, options: str = "") -> Iterator[str]:
    """Make an empty database on the server of `url`; give its address, and drop it after."""
    engine = connect(url).execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} {options}"))
        try:
            yield make_url(url).set(database=name).render_as_string(hide_password=False)
        finally:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()
