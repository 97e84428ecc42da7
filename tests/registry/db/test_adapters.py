"""What hubs list, stored: that it takes no longer the more there is."""

from dataclasses import replace
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.orm import Session

from crawler.records import AdapterRecord, FileRecord
from registry.db.adapters import Origin, move
from tests.builders import add_adapter
from tests.registry.db.test_records import make_record

FOLDER = Origin("folder", "/loras")


def record_of(file_name: str) -> AdapterRecord:
    return replace(
        make_record(),
        hub=FOLDER.hub,
        repo=f"loras/{file_name}",
        version="",
        file=FileRecord(file_name, 5, "a" * 64),
    )


def test_where_a_file_moved_from_is_found_by_its_own_index(session: Session) -> None:
    """An origin's own index begins with repositories: each file would read through all others."""
    for number in range(300):
        name = f"Style.{number}.safetensors"
        adapter = add_adapter(session, **FOLDER._asdict(), name=name, file_name=f"old/{name}")
    session.execute(text("ANALYZE adapters"))
    moved = record_of("Another.name.safetensors")
    connection, sent = session.connection(), list[tuple[str, Any]]()

    def note(*told: Any) -> None:
        sent.append((told[2], told[3]))

    event.listen(connection, "before_cursor_execute", note)
    move(session, FOLDER, adapter.file_name, moved)
    event.remove(connection, "before_cursor_execute", note)

    lookup, given = sent[0]
    plan = "\n".join(connection.exec_driver_sql(f"EXPLAIN {lookup}", given).scalars())
    assert "ix_adapters_file_stem" in plan
    session.refresh(adapter)
    assert (adapter.repo, adapter.file_name) == (moved.repo, moved.file.name)
