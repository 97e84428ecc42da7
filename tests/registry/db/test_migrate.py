"""What the registry asks of a database before it uses it."""

from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from registry.db import migrate as migrate_module
from registry.db.migrate import is_old_pgvector, migrate
from registry.db.models import Adapter, ListingWords
from registry.errors import DatabaseError
from registry.text.word_segmentation import segment
from tests.builders import add_adapter


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


def loaded(migration: str) -> Any:
    where = migrate_module.MIGRATIONS / "versions" / f"{migration}.py"
    found = spec_from_file_location(migration, where)
    assert found is not None
    assert found.loader is not None
    module = module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_words_with_accents_that_are_stored_are_found_without(session: Session) -> None:
    """As what is listed from now on, of which `segment` gives both."""
    stored = "café crème smørrebrød straße œuvre fox 猫 한국 が йод"
    accented = add_adapter(session, words=stored).id
    plain = add_adapter(session, words="fox 猫").id
    migration = loaded("0004_words_without_accents")

    session.execute(text(migration.STATEMENT))

    words = {row.id: row.words for row in session.execute(select(Adapter.id, Adapter.words))}
    assert words[plain] == "fox 猫"
    assert set(words[accented].split()) == set(segment(stored).split())
    vector = select(ListingWords.words_vector).where(ListingWords.adapter_id == accented)
    assert "'cafe'" in session.scalars(vector).one()


def test_parts_of_names_that_are_stored_are_found(session: Session) -> None:
    """As what is listed from now on: a version, camelCase before it, a plural with accents."""
    name = "iceCat_v2-final 3d cafés Fox"
    before = "icecatv2final ice cat final 3d cafés cafes fox"
    named = add_adapter(session, name=name, file_name="x.safetensors", words=before).id
    plain = add_adapter(session, name="fox", file_name="x.safetensors", words="fox").id

    session.execute(text(loaded("0005_parts_of_identifiers").STATEMENT))

    words = {row.id: row.words for row in session.execute(select(Adapter.id, Adapter.words))}
    assert words[plain] == "fox"
    assert set(words[named].split()) == {*segment(name).split(), "cafés", "cafes"}
