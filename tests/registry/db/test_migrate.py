"""What the registry asks of a database before it uses it."""

import pytest
from sqlalchemy import Engine

from registry.db import migrate as migrate_module
from registry.db.migrate import is_old_pgvector, migrate
from registry.errors import DatabaseError


@pytest.mark.parametrize(
    ("version", "old"),
    [("0.7.4", True), ("0.8.0", True), ("0.8.4", False), ("0.8.10", False), ("1.0.0", False)],
)
def test_versions_compare_as_numbers(version: str, old: bool) -> None:
    assert is_old_pgvector(version) == old


def test_an_old_pgvector_is_refused_in_one_line(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its indexes may break, which nobody would notice."""
    monkeypatch.setattr(migrate_module, "LEAST_PGVECTOR", (99, 1))

    with pytest.raises(DatabaseError, match=r"search needs 99\.1 or later") as raised:
        migrate(engine)

    assert "\n" not in str(raised.value)
