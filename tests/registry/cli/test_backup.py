"""`autolora backup` and `restore`: what comes back answers as before."""

import fcntl
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.orm import Session, sessionmaker

from crawler.hashed_file import hash_file
from registry.config import Settings
from registry.db.dumps import count_rows
from registry.db.postgres_programs import find_client
from registry.errors import BackupError
from registry.running import FILE, Identity, RunningServer, announced, find_server
from registry.service import Registry
from registry.upkeep.backup import KeptFile, make_backup
from registry.upkeep.restore import restore_backup
from tests.registry.api.conftest import add_cover, add_file
from tests.registry.cli.runner import run, run_badly, run_well
from tests.registry.cli.tls_door import TlsDoor
from tests.registry.conftest import add_real_encoder

pytestmark = pytest.mark.usefixtures("environment")

A_COVER = sha256(b"a cover").hexdigest()


@pytest.fixture
def empty_url(engine: Engine, database_url: str) -> Iterator[str]:
    """The address of a database beside the tests' one, with nothing in it."""
    outside = engine.execution_options(isolation_level="AUTOCOMMIT")
    with outside.connect() as connection:
        connection.execute(text("CREATE DATABASE restored TEMPLATE template0"))
    yield make_url(database_url).set(database="restored").render_as_string(hide_password=False)
    with outside.connect() as connection:
        connection.execute(text("DROP DATABASE restored WITH (FORCE)"))


@pytest.fixture
def indexed(registry: Registry) -> Registry:
    """Two adapters with files, one with a cover, an encoder, and a file of the home's own."""
    add_file(registry, 1, "Fox", "a fox in the snow")
    add_file(registry, 2, "Boat", "a boat on a lake")
    # Its own checkpoint and covers of builders lie in no store; these do.
    add_cover(registry, "red")
    add_real_encoder(registry)
    (registry.settings.home / "gates").mkdir()
    (registry.settings.home / "gates" / "mine.json").write_text("{}")
    return registry


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few pages, where this user may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k,mode=0755", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root mounts")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def keep_named_blobs(registry: Registry) -> None:
    """Let every cover of the builders be a blob that is there."""
    assert registry.blobs.put_bytes(b"a cover") == A_COVER
    with registry.sessions.begin() as session:
        session.execute(
            text("UPDATE covers SET sha256 = :sha256, thumbnail_sha256 = :sha256"),
            {"sha256": A_COVER},
        )
        session.execute(text("UPDATE files SET state = 'dropped' WHERE size = 1000"))


def rows_of(sessions: sessionmaker[Session]) -> dict[str, int]:
    with sessions() as session:
        return count_rows(session.connection())


def test_a_restored_registry_has_the_same_rows_and_answers(
    indexed: Registry, empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_named_blobs(indexed)
    before = indexed.search("a boat")
    rows = rows_of(indexed.sessions)
    kept = run("backup", str(tmp_path / "kept"))

    home = tmp_path / "other"
    monkeypatch.setenv("REGISTRY_HOME", str(home))
    monkeypatch.setenv("REGISTRY_DATABASE_URL", empty_url)
    said = run_well("restore", str(tmp_path / "kept"))

    assert kept.exit_code == 0, kept.output
    assert "3 adapters" in kept.stdout
    assert "3 adapters" in said
    with Registry(Settings()) as restored:
        after = restored.search("a boat")
        assert [(hit.card.id, hit.hit.score) for hit in after.results] == [
            (hit.card.id, hit.hit.score) for hit in before.results
        ]
        assert rows_of(restored.sessions) == rows
        for blob in (tmp_path / "kept" / "blobs").glob("*/*"):
            assert restored.blobs.exists(blob.name)
    assert (home / "gates" / "mine.json").read_text() == "{}"
    assert not (home / "restoring").exists()
    assert "is not empty" in run_badly("restore", str(tmp_path / "kept"))


def test_a_role_that_may_not_add_extensions_is_told_who_may(
    indexed: Registry,
    engine: Engine,
    empty_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In whatever language the server speaks: its words are not read."""
    keep_named_blobs(indexed)
    run_well("backup", str(tmp_path / "kept"))
    outside = engine.execution_options(isolation_level="AUTOCOMMIT")
    with outside.connect() as connection:
        connection.execute(text("CREATE ROLE guest LOGIN PASSWORD 'guest'"))
    monkeypatch.setenv("REGISTRY_HOME", str(tmp_path / "other"))
    guest = make_url(empty_url).set(username="guest", password="guest")
    monkeypatch.setenv("REGISTRY_DATABASE_URL", guest.render_as_string(hide_password=False))
    try:
        said = run_badly("restore", str(tmp_path / "kept"))
    finally:
        with outside.connect() as connection:
            connection.execute(text("DROP ROLE guest"))

    assert "Have a superuser run `CREATE EXTENSION vector`" in said


def test_a_backup_takes_no_blob_twice_where_links_work(indexed: Registry, tmp_path: Path) -> None:
    run("backup", str(tmp_path / "linked"))
    run("backup", str(tmp_path / "copied"), "--copy")

    linked, copied = (
        {blob.name: blob.stat() for blob in (tmp_path / name / "blobs").glob("*/*")}
        for name in ("linked", "copied")
    )
    assert linked.keys() == copied.keys()
    for name in linked:
        here = indexed.blobs.path(name).stat()
        assert linked[name].st_ino == here.st_ino
        assert copied[name].st_ino != here.st_ino


def test_a_restored_home_does_not_ask_the_server_of_the_one_before(
    indexed: Registry, empty_url: str, tmp_path: Path
) -> None:
    """It still runs, and would answer of another registry, let in by a secret of the backup's."""
    identity, kept = Identity.make(), tmp_path / "kept"
    server = RunningServer(
        url="http://127.0.0.1:8000",
        pid=os.getpid(),
        instance=identity.instance,
        token=identity.credential,
    )
    with announced(indexed.settings.home, server):
        manifest = make_backup(indexed.settings, indexed.sessions, kept, lambda *_: None)
        earlier = KeptFile(path="server.json", sha256=hash_file(indexed.settings.home / FILE))
        listed = manifest.model_copy(update={"files": [*manifest.files, earlier]})
        (kept / "manifest.json").write_text(listed.model_dump_json())
        restored = Settings(home=tmp_path / "other", database_url=empty_url)
        restore_backup(restored, kept, lambda *_: None)

        assert find_server(restored.home) is None

    assert identity.credential not in " ".join(
        path.read_text(errors="replace") for path in kept.rglob("*") if path.is_file()
    )


def test_what_is_there_for_a_while_is_not_kept(
    indexed: Registry, empty_url: str, tmp_path: Path
) -> None:
    """A lesson's sketches may be hundreds of gigabytes, and half a file is none."""
    home, kept = indexed.settings.home, tmp_path / "kept"
    for path in ("learning/learning-1/sketches", "dropped/.1.partial", "dropped/fox.safetensors"):
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_text("x")

    manifest = make_backup(indexed.settings, indexed.sessions, kept, lambda *_: None)

    paths = {file.path for file in manifest.files}
    assert "dropped/fox.safetensors" in paths
    assert not [path for path in paths if path.startswith("learning") or "partial" in path]
    earlier = KeptFile(path="learning/learning-1/sketches", sha256="0" * 64)
    listed = manifest.model_copy(update={"files": [*manifest.files, earlier]})
    (kept / "manifest.json").write_text(listed.model_dump_json())
    restored = Settings(home=tmp_path / "other", database_url=empty_url)
    restore_backup(restored, kept, lambda *_: None)
    assert not (restored.home / "learning").exists()


def test_blobs_that_are_damaged_or_missing_are_told_of(indexed: Registry, tmp_path: Path) -> None:
    keep_named_blobs(indexed)
    cover = indexed.settings.blobs / A_COVER[:2] / A_COVER
    cover.unlink()
    rotten = next(iter(sorted(indexed.settings.blobs.glob("??/*"))))
    rotten.chmod(0o600)
    rotten.write_bytes(b"rot")

    done = run("backup", str(tmp_path / "kept"))

    manifest = json.loads((tmp_path / "kept" / "manifest.json").read_text())
    assert done.exit_code == 1
    assert manifest["damaged"] == [rotten.name]
    # What is damaged is there, and is told of once.
    assert manifest["missing"] == [A_COVER]
    assert f"1 blob is damaged and not in the backup: {rotten.name[:12]}…" in done.stderr


def test_what_comes_and_goes_while_a_backup_is_made_is_no_fault_of_it(
    indexed: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crawl goes on, and a person throws away a file of theirs."""
    keep_named_blobs(indexed)
    (indexed.settings.home / "gates" / "gone.json").write_text("{}")
    taken = []
    open_ = Path.open

    def crawl_on(done: int, total: int) -> None:
        if done == total:
            taken.append(total)
        if len(taken) == 2:
            taken.append(total)
            add_cover(indexed, "blue")

    def open_too_late(path: Path, *args: Any, **options: Any) -> Any:
        if path.name == "gone.json":
            path.unlink(missing_ok=True)
        return open_(path, *args, **options)

    monkeypatch.setattr(Path, "open", open_too_late)
    kept = make_backup(indexed.settings, indexed.sessions, tmp_path / "kept", crawl_on)

    assert len(taken) == 3
    assert kept.missing == []
    paths = {file.path for file in kept.files}
    assert "gates/mine.json" in paths
    assert "gates/gone.json" not in paths
    assert not (tmp_path / "kept" / "files" / "gates" / "gone.json").exists()


def test_nothing_is_written_over_and_nothing_half_stays(
    indexed: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    assert "is there already" in run_badly("backup", str(kept))
    kept.rmdir()

    monkeypatch.setenv("REGISTRY_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    assert "cannot be reached" in run_badly("backup", str(kept))
    assert not kept.exists()


def test_what_a_killed_backup_left_is_no_part_of_the_next(
    indexed: Registry, empty_url: str, tmp_path: Path
) -> None:
    keep_named_blobs(indexed)
    kept, left = tmp_path / "kept", tmp_path / ".kept.partial"
    (left / "blobs" / "ab").mkdir(parents=True)
    (left / "blobs" / "ab" / ("ab" * 32)).write_bytes(b"half a blob")

    manifest = make_backup(indexed.settings, indexed.sessions, kept, lambda *_: None)

    assert not left.exists()
    assert manifest.blobs == len([*kept.glob("blobs/*/*")])
    restored = Settings(home=tmp_path / "other", database_url=empty_url)
    restore_backup(restored, kept, lambda *_: None)


def test_what_a_killed_backup_of_another_name_left_is_removed(
    indexed: Registry, tmp_path: Path
) -> None:
    """As where each bears its day; one that is being written, and what is no backup, stay."""
    left, written, other = (tmp_path / f".{name}.partial" for name in ("mon", "tue", "wed"))
    for folder in (left, written):
        (folder / "blobs" / "ab").mkdir(parents=True)
        (folder / "blobs" / "ab" / "abc").write_text("half")
    other.mkdir()
    (other / "thesis").touch()
    descriptor = os.open(written, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)

    make_backup(indexed.settings, indexed.sessions, tmp_path / "thu", lambda *_: None)
    os.close(descriptor)

    beside = [path.name for path in tmp_path.glob(".*.partial")]
    assert sorted(beside) == [written.name, other.name]
    assert (written / "blobs" / "ab" / "abc").exists()


def test_of_two_backups_to_one_place_the_second_leaves_the_first_alone(
    indexed: Registry, tmp_path: Path
) -> None:
    first = tmp_path / ".kept.partial"
    first.mkdir()
    (first / "manifest.json").write_text("of the first")

    descriptor = os.open(first, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    said = run_badly("backup", str(tmp_path / "kept"))
    os.close(descriptor)

    assert "another backup is being written to" in said
    assert (first / "manifest.json").read_text() == "of the first"


def test_a_backup_that_lost_something_since_is_not_restored(
    indexed: Registry, empty_url: str, tmp_path: Path
) -> None:
    keep_named_blobs(indexed)
    kept = tmp_path / "kept"
    make_backup(indexed.settings, indexed.sessions, kept, lambda *_: None, link=False)
    restored = Settings(home=tmp_path / "other", database_url=empty_url)

    def refusal(spoil: Callable[[Path], object], path: Path) -> str:
        whole = path.read_bytes()
        spoil(path)
        with pytest.raises(BackupError) as raised:
            restore_backup(restored, kept, lambda *_: None)
        path.write_bytes(whole)
        return str(raised.value)

    blob, file = kept / "blobs" / A_COVER[:2] / A_COVER, kept / "files" / "gates" / "mine.json"
    said = [
        refusal(lambda path: path.write_bytes(b"rot"), blob),
        refusal(Path.unlink, blob),
        refusal(lambda path: path.write_bytes(b"rot"), file),
        refusal(Path.unlink, file),
    ]
    restore_backup(restored, kept, lambda *_: None)

    assert f"{blob} is damaged: its bytes" in said[0]
    assert "it is not whole" in said[1]
    assert f"{file} is damaged: its hash" in said[2]
    assert f"{file} is missing" in said[3]


def test_a_backup_inside_of_the_home_is_refused(indexed: Registry) -> None:
    """It would hold itself, and each one all before it."""
    inside = indexed.settings.home / "backups" / "monday"

    assert "name a folder outside of it" in run_badly("backup", str(inside))
    assert not inside.parent.exists()


def test_where_a_backup_cannot_be_written_is_one_line(indexed: Registry, tmp_path: Path) -> None:
    assert indexed.settings.home.exists()
    (tmp_path / "a file").write_text("")

    said = run_badly("backup", str(tmp_path / "a file" / "kept"))

    assert "cannot be made at" in said
    assert "Name a folder that can be written to" in said


def test_a_full_disk_is_one_line_and_leaves_nothing(
    indexed: Registry,
    empty_url: str,
    full_disk: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "No space left on device" in run_badly("backup", str(full_disk / "kept"))
    assert list(full_disk.iterdir()) == []

    kept = tmp_path / "kept"
    make_backup(indexed.settings, indexed.sessions, kept, lambda *_: None)
    monkeypatch.setenv("REGISTRY_HOME", str(full_disk / "home"))
    monkeypatch.setenv("REGISTRY_DATABASE_URL", empty_url)
    assert "run the same command again" in run_badly("restore", str(kept))


def test_what_is_no_whole_backup_of_a_known_version_is_refused(
    indexed: Registry, empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    make_backup(indexed.settings, indexed.sessions, kept, lambda *_: None)
    manifest = json.loads((kept / "manifest.json").read_text())
    monkeypatch.setenv("REGISTRY_HOME", str(tmp_path / "other"))
    monkeypatch.setenv("REGISTRY_DATABASE_URL", empty_url)
    outside = [{"path": "../outside", "sha256": "0" * 64}]
    changes = {
        "update the registry": {"revision": "9999"},
        "that this version knows": {"format": 2},
        "is damaged or missing": {"dump_sha256": "0" * 64},
        "set it to the same": {"blobs_url": "s3://there"},
        "it is not whole": {"blobs": 1000},
        "outside of its home": {"files": outside},
        "are not those that were kept, in adapters": {"rows": manifest["rows"] | {"adapters": 9}},
    }

    for said, change in changes.items():
        (kept / "manifest.json").write_text(json.dumps(manifest | change))
        assert said in run_badly("restore", str(kept))

    assert "has no manifest.json" in run_badly("restore", str(tmp_path))


def test_a_database_reached_over_tls_is_never_asked_in_the_clear(
    indexed: Registry, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What asks it by default would: it knows no TLS, and takes what it is given."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with TlsDoor(database_url, tmp_path) as door:
        monkeypatch.setenv("REGISTRY_DATABASE_URL", door.url)
        said = run_badly("backup", str(tmp_path / "kept"))

    assert "Install the client programs of PostgreSQL" in said
    assert door.in_the_clear == 0
    assert not (tmp_path / "kept").exists()


def test_a_program_of_the_system_is_taken_where_ours_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older one of the system, as most have, would refuse what ours takes."""
    of_system = tmp_path / "pg_dump"
    of_system.write_text("")
    of_system.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))

    ours = find_client("pg_dump", tls=False, major=16)

    assert ours.parent.name == "bin"
    assert ours != of_system
    assert find_client("pg_dump", tls=True, major=16) == of_system
    assert find_client("pg_dump", tls=False, major=99) == of_system


def test_a_database_that_cannot_be_reached_is_one_line_that_names_it(
    indexed: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    make_backup(indexed.settings, indexed.sessions, kept, lambda *_: None)
    monkeypatch.setenv("REGISTRY_HOME", str(tmp_path / "other"))
    monkeypatch.setenv("REGISTRY_DATABASE_URL", "postgresql://somebody@127.0.0.1:1/nothing")

    said = run_badly("restore", str(kept))

    assert "somebody@127.0.0.1:1/nothing cannot be reached" in said
    assert "REGISTRY_DATABASE_URL" in said
    assert not (tmp_path / "other").exists()


def test_a_restoration_that_was_stopped_goes_on(
    indexed: Registry, empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    make_backup(indexed.settings, indexed.sessions, kept, lambda *_: None)
    settings = Settings(home=tmp_path / "other", database_url=empty_url)

    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore_backup(settings, kept, stop)
    cut = next((settings.blobs).glob("*/*"))
    cut.unlink()
    cut.write_bytes(b"cut")
    restore_backup(settings, kept, lambda *_: None)

    with Registry(settings) as restored:
        assert rows_of(restored.sessions) == rows_of(indexed.sessions)
        assert all(hash_file(blob) == blob.name for blob in settings.blobs.glob("*/*"))


def stop_restoring(
    monkeypatch: pytest.MonkeyPatch, step: str, settings: Settings, kept: Path
) -> None:
    """Restore a backup, and press Ctrl-C in a step that comes when the database is filled."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(f"registry.upkeep.restore.{step}", stop)
        with pytest.raises(KeyboardInterrupt):
            restore_backup(settings, kept, lambda *_: None)


@pytest.mark.parametrize("step", ["_check_rows", "migrate"])
def test_a_restoration_that_was_stopped_when_the_database_was_filled_goes_on(
    indexed: Registry,
    empty_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    kept = tmp_path / "kept"
    make_backup(indexed.settings, indexed.sessions, kept, lambda *_: None)
    settings = Settings(home=tmp_path / "other", database_url=empty_url)

    stop_restoring(monkeypatch, step, settings, kept)
    # A database that another has filled is none to go on with.
    other = settings.model_copy(update={"database_url": indexed.settings.database_url})
    with pytest.raises(BackupError, match="is not empty"):
        restore_backup(other, kept, lambda *_: None)
    restore_backup(settings, kept, lambda *_: None)

    with Registry(settings) as restored:
        assert rows_of(restored.sessions) == rows_of(indexed.sessions)
    with pytest.raises(BackupError, match="is not empty"):
        restore_backup(settings, kept, lambda *_: None)


def test_a_database_that_was_emptied_meanwhile_is_filled_anew(
    indexed: Registry, empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    make_backup(indexed.settings, indexed.sessions, kept, lambda *_: None)
    settings = Settings(home=tmp_path / "other", database_url=empty_url)

    stop_restoring(monkeypatch, "migrate", settings, kept)
    engine = create_engine(empty_url)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    restore_backup(settings, kept, lambda *_: None)

    with Registry(settings) as restored:
        assert rows_of(restored.sessions) == rows_of(indexed.sessions)
