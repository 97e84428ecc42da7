"""Own files that are one another again, and what finding them loads."""

from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session

from registry.retrieval.copies import find_copies
from tests.builders import add_adapter


def test_what_was_read_of_a_file_is_loaded_once_for_all_its_copies(
    session: Session, tmp_path: Path
) -> None:
    """It is some kilobytes, and a folder may have thousands of copies of a file."""
    ids = []
    for number in range(8):
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(b"")
        adapter = add_adapter(
            session,
            hub="folder",
            endpoint=str(tmp_path),
            file_name=path.name,
            file_sha256=("a" if number < 5 else "b" if number < 7 else "c") * 64,
        )
        ids.append(adapter.id)
    session.expire_all()
    loaded = []

    def note(*told: Any) -> None:
        cursor, statement = told[1:3]
        if "fingerprint" in statement:
            loaded.append(cursor.rowcount)

    connection = session.connection()
    event.listen(connection, "after_cursor_execute", note)
    found = find_copies(session)
    event.remove(connection, "after_cursor_execute", note)

    assert [[copy.adapter_id for copy in group] for group in found] == [ids[:5], ids[5:7]]
    assert loaded == [3]
