"""Run by Alembic, on the connection that registry.db.migrate hands over or on a new one."""

from typing import Any

from alembic import context
from sqlalchemy import Connection

from registry.db.work_models import ALL_TABLES


def is_ours(name: str | None, kind: str, parents: Any) -> bool:
    """Leave out the tables of the queue of jobs, whose schema is procrastinate's."""
    return kind != "table" or not str(name).startswith("procrastinate_")


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=ALL_TABLES, include_name=is_ours)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:  # the command line: `alembic check`, `alembic revision --autogenerate`
    from registry.config import Settings
    from registry.db.session import open_engine

    with open_engine(Settings()) as engine, engine.connect() as connection:
        run(connection)
        connection.commit()
