"""Run by Alembic, on the connection that registry.db.migrate hands over or on a new one."""

from alembic import context
from sqlalchemy import Connection

from registry.db.models import Base


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata)
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
