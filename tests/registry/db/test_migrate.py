"""What the registry asks of a database before it uses it."""

from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, text, update
from sqlalchemy.orm import Session

from registry.db import migrate as migrate_module
from registry.db.migrate import is_old_pgvector, migrate
from registry.db.models import Adapter, File, Listing, ListingWords
from registry.db.removals import PERSON
from registry.db.session import connect
from registry.errors import DatabaseError
from registry.text.word_segmentation import segment, segment_places
from tests.builders import add_adapter
from tests.databases import database_beside


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


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_cannot_hold_all_letters_is_refused_in_one_line(
    encoding: str, database_url: str
) -> None:
    """`initdb` under LANG=C makes the former, whose texts arrive as bytes."""
    options = f"TEMPLATE template0 ENCODING '{encoding}' LOCALE_PROVIDER libc LOCALE 'C'"
    with database_beside(database_url, "letters", options) as url:
        narrow = connect(url)
        with pytest.raises(DatabaseError, match=f"has the encoding {encoding}") as raised:
            migrate(narrow)
        narrow.dispose()

    assert "\n" not in str(raised.value)


def test_a_migration_that_finds_the_database_at_work_does_not_say_that_it_is_away(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does one without room: for psycopg they all are of one kind."""
    monkeypatch.setattr(migrate_module, "last_revision", lambda: "9999")
    url = engine.url.update_query_dict({"options": "-c lock_timeout=100ms"})
    impatient = connect(url)

    with engine.connect() as other:
        # As another process that migrates.
        other.execute(select(func.pg_advisory_lock(migrate_module._ADVISORY_LOCK)))
        with pytest.raises(DatabaseError, match=r"migrated: .* lock timeout\. .* again") as raised:
            migrate(impatient)
        other.execute(select(func.pg_advisory_unlock(migrate_module._ADVISORY_LOCK)))
    impatient.dispose()

    assert "cannot be reached" not in str(raised.value)


def test_tables_that_no_release_made_are_not_blamed_on_postgresql(database_url: str) -> None:
    """Those of versions before the first, whose revisions bear numbers of ours."""
    with database_beside(database_url, "early", "TEMPLATE template0") as url:
        early = connect(url)
        with early.begin() as connection:
            connection.execute(text("CREATE TABLE alembic_version (version_num text PRIMARY KEY)"))
            connection.execute(text("INSERT INTO alembic_version VALUES ('0003')"))
        with pytest.raises(DatabaseError, match=r"not those that a release made") as raised:
            migrate(early)
        early.dispose()

    assert "PostgreSQL 14" not in str(raised.value)
    assert "\n" not in str(raised.value)


def loaded(migration: str) -> Any:
    where = migrate_module.MIGRATIONS / "versions" / f"{migration}.py"
    found = spec_from_file_location(migration, where)
    assert found is not None
    assert found.loader is not None
    module = module_from_spec(found)
    found.loader.exec_module(module)
    return module


def on_one_line(session: Session, adapter: Adapter, words: str) -> int:
    """Store words as they were before each place had a line of its own."""
    session.execute(update(Adapter).where(Adapter.id == adapter.id).values(words=words))
    return adapter.id


def test_words_with_accents_that_are_stored_are_found_without(session: Session) -> None:
    """As what is listed from now on, of which `segment` gives both."""
    stored = "café crème smørrebrød straße œuvre fox 猫 한국 が йод"
    accented = on_one_line(session, add_adapter(session), stored)
    plain = on_one_line(session, add_adapter(session), "fox 猫")
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
    added = [add_adapter(session, name=own, file_name="x.safetensors") for own in (name, "fox")]
    named, plain = (
        on_one_line(session, adapter, words)
        for adapter, words in zip(added, (before, "fox"), strict=True)
    )

    session.execute(text(loaded("0005_parts_of_identifiers").STATEMENT))

    words = {row.id: row.words for row in session.execute(select(Adapter.id, Adapter.words))}
    assert words[plain] == "fox"
    assert set(words[named].split()) == {*segment(name).split(), "cafés", "cafes"}


def test_words_that_are_stored_go_to_their_places(session: Session) -> None:
    """As what is listed from now on, with those of traditional signs among what is said."""
    said: dict[str, Any] = {
        "name": "Ice Cats",
        "author": "Neon_Fox",
        "tags": ["fox night"],
        "description": "龍",
    }
    adapter = add_adapter(session, **said)
    on_one_line(session, adapter, "ice cat adapter neonfox neon fox fox night 龙")

    session.execute(text(loaded("0006_words_by_place").STATEMENT))

    session.refresh(adapter)
    places = segment_places("Ice Cats", "Neon_Fox", "adapter fox night 龍")
    assert [{*line.split()} for line in adapter.words.split("\n")] == [
        {*line.split()} for line in places.split("\n")
    ]
    vector = session.scalars(select(ListingWords.words_vector)).one()
    assert {"'=cat'", "'@neon'", "'@=neonfox'"} <= {*vector.split()}
    assert "'@fox'" not in vector


def test_tags_that_are_listed_twice_are_listed_once(session: Session) -> None:
    adapter = add_adapter(session, tags=["fox", "lora"])
    other = add_adapter(session, tags=["b", "a"])
    twice = update(Listing).where(Listing.adapter_id == adapter.id)
    session.execute(twice.values(tags=["lora", "fox", "lora"]))

    session.execute(text(loaded("0007_tags_once").STATEMENT))

    rows = session.execute(select(Listing.adapter_id, Listing.tags))
    tags = {row.adapter_id: row.tags for row in rows}
    assert tags == {adapter.id: ["fox", "lora"], other.id: ["a", "b"]}


def test_files_keep_why_adapters_were_refused_for_them(session: Session) -> None:
    """Whoever has such a file too is refused; of what nobody tells why, is read again."""
    told = add_adapter(session, state="refused", refusal="it is cut")
    late = add_adapter(session, file_sha256=told.file_sha256)
    by_person = add_adapter(session, state="refused", refusal="out", refused_by=PERSON)
    gone = add_adapter(session, state="gone", refusal="it is a pickle")
    fine = add_adapter(session)
    session.execute(update(File).values(reader_version="reader-9"))
    unread = File.sha256.in_([told.file_sha256, gone.file_sha256])
    session.execute(update(File).where(unread).values(read_at=None))

    for statement in loaded("0009_refusals_of_files").STATEMENTS:
        session.execute(text(statement))

    session.expire_all()
    files = {
        adapter.id: session.get_one(File, adapter.file_sha256)
        for adapter in (told, by_person, gone, fine)
    }
    assert {id_: file.refusal for id_, file in files.items() if file.refusal} == {
        told.id: "it is cut"
    }
    assert [id_ for id_, file in files.items() if file.reader_version is None] == [gone.id]
    assert (late.state, late.refusal) == ("refused", "it is cut")
    assert (by_person.refusal, gone.state, fine.state) == ("out", "gone", "ready")


def test_kana_and_hangul_that_are_stored_are_found_beside_latin(session: Session) -> None:
    """As what is listed from now on."""
    name = "ガンダムRX78"
    mixed = on_one_line(
        session, add_adapter(session, name=name), "ガンダムrx78 ガンダムrx 78\n\n猫 lora"
    )
    plain = on_one_line(session, add_adapter(session), "ガンダム 78\n\n猫 lora")

    session.execute(text(loaded("0010_words_beside_kana").STATEMENT))

    words = {row.id: row.words for row in session.execute(select(Adapter.id, Adapter.words))}
    assert words[plain] == "ガンダム 78\n\n猫 lora"
    assert words[mixed].startswith("ガンダムrx78 ガンダムrx 78\n\n猫 lora ")
    assert set(segment(name).split()) <= {*words[mixed].split()}
    vector = select(ListingWords.words_vector).where(ListingWords.adapter_id == mixed)
    assert "'ガンダム'" in session.scalars(vector).one()
