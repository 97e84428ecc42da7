"""A backup made into a registry again, in an empty home."""

import hashlib
import os
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy import Engine

from crawler.hashed_file import hash_file
from crawler.whole_file import written_whole
from registry.blobs import is_disk_full, make_private
from registry.config import Settings
from registry.db.dumps import count_rows, has_tables, is_known_revision, read_dump
from registry.db.migrate import check_encoding, migrate
from registry.db.session import one_line_errors, open_engine, reached
from registry.errors import BackupError, DiskFullError
from registry.upkeep.backup import (
    BLOBS,
    DUMP,
    FILES,
    MANIFEST,
    Manifest,
    Progress,
    blobs_in,
    has_own_way,
    take_file,
)

# In the home while a restoration is under way: which backup's it is, so that it can go on, and
# which database it fills by now.
MARK = "restoring"


def restore_backup(
    settings: Settings, path: Path, progress: Progress, *, link: bool = True
) -> Manifest:
    """Fill the home and the database of the settings, both empty, from the backup at `path`.

    What was stopped goes on when it is asked again. The database is filled last, at once.

    Raises:
        BackupError: it is no whole backup, a later version made it, something is there already,
            or the home cannot be written to.
        DiskFullError: there is no room for it.
        DatabaseError: the database cannot be started, reached or filled.
    """
    manifest = read_manifest(path)
    dump = path / DUMP
    if not dump.is_file() or hash_file(dump) != manifest.dump_sha256:
        raise BackupError(f"{dump} is damaged or missing; this backup cannot be restored.")
    if manifest.blobs_url != settings.blobs_url:
        where = manifest.blobs_url or "in the backup itself"
        raise BackupError(
            f"the blobs of this backup are {where}, and REGISTRY_BLOBS_URL is "
            f"{settings.blobs_url or 'not set'}: set it to the same."
        )
    mark = _read_mark(settings.home)
    if mark not in (manifest.dump_sha256, _filling(settings, manifest)):
        _check_home(settings.home)
    try:
        _restore(settings, path, manifest, progress, link=link)
    except OSError as error:
        if is_disk_full(error):
            raise DiskFullError(settings.home) from error
        raise BackupError(
            f"{path} cannot be restored to {settings.home}: {error.strerror or error} "
            f"({error.filename}). Mend that, then run the same command again: it goes on."
        ) from error
    return manifest


def _restore(
    settings: Settings, path: Path, manifest: Manifest, progress: Progress, *, link: bool
) -> None:
    filling = _filling(settings, manifest)
    with one_line_errors(), open_engine(settings) as engine:
        with reached(engine) as connection:
            check_encoding(connection)
            is_empty = not has_tables(connection)
        if is_empty:
            make_private(settings.home)
            _mark(settings.home, manifest.dump_sha256)
            _take_blobs(path / BLOBS, settings.blobs, manifest, progress, link=link)
            _take_files(path / FILES, settings.home, manifest)
            _mark(settings.home, filling)
            read_dump(engine, path / DUMP)
        elif _read_mark(settings.home) != filling:
            raise BackupError(
                "the database has tables already; only an empty one is filled. Set REGISTRY_HOME "
                "or REGISTRY_DATABASE_URL to another."
            )
        # It is filled all at once; what comes now may take long, and be stopped.
        _check_rows(engine, manifest)
        migrate(engine)
    (settings.home / MARK).unlink()


def _filling(settings: Settings, manifest: Manifest) -> str:
    """Return what the mark says while a database is filled, and which that is."""
    database = (settings.database_url or "").encode()
    return f"{manifest.dump_sha256} into {hashlib.sha256(database).hexdigest()}"


def _mark(home: Path, text: str) -> None:
    with written_whole(home / MARK) as partial:
        partial.write_text(text, encoding="utf-8")


def read_manifest(path: Path) -> Manifest:
    """Return what a backup holds, or raise BackupError."""
    try:
        manifest = Manifest.model_validate_json((path / MANIFEST).read_bytes())
    except OSError as error:
        raise BackupError(f"{path} is no backup: it has no {MANIFEST} to be read.") from error
    except ValidationError as error:
        raise BackupError(
            f"{path / MANIFEST} is no list that this version knows; update the registry."
        ) from error
    if not is_known_revision(manifest.revision):
        raise BackupError(
            f"{path} has a schema that this version does not know ({manifest.revision}): "
            "update the registry."
        )
    return manifest


def _read_mark(home: Path) -> str:
    """Return what this or another restoration left in a home; "" where there is none."""
    try:
        return (home / MARK).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _check_home(home: Path) -> None:
    """Refuse a home that holds anything."""
    here = [path for path in home.iterdir() if path.name != "postgres"] if home.is_dir() else []
    # The database's own locks stay for good; whether it is empty, it says itself.
    here = [path for path in here if not path.name.startswith(("postgres.", f"{MARK}."))]
    if here:
        raise BackupError(
            f"{home} is not empty ({here[0].name} lies there); "
            "set REGISTRY_HOME to a folder that is."
        )


def _take_blobs(
    source: Path, store: Path, manifest: Manifest, progress: Progress, *, link: bool
) -> None:
    count = 0
    for blob in blobs_in(source):
        target = store / blob.name[:2] / blob.name
        make_private(target.parent)
        # Anew, for what a stopped restoration left may be cut.
        target.unlink(missing_ok=True)
        if take_file(blob, target, link=link) != blob.name:
            target.unlink()
            raise BackupError(f"{blob} is damaged: its bytes do not have the hash of its name.")
        count += 1
        progress(count, manifest.blobs)
    if count != manifest.blobs:
        raise BackupError(
            f"{source} has {count} blobs, and {manifest.blobs} were kept; it is not whole."
        )


def _take_files(source: Path, home: Path, manifest: Manifest) -> None:
    for file in manifest.files:
        target = Path(os.path.normpath(home / file.path))
        # A list that somebody else wrote leads nowhere but into the home.
        if home not in target.parents:
            raise BackupError(f"the backup names a file outside of its home: {file.path}")
        if has_own_way(target.relative_to(home).parts[0]):
            continue  # earlier versions kept more
        make_private(target.parent)
        target.unlink(missing_ok=True)
        try:
            sha256 = take_file(source / file.path, target, link=False)
        except FileNotFoundError as error:
            raise BackupError(f"{source / file.path} is missing; it is not whole.") from error
        if sha256 != file.sha256:
            raise BackupError(f"{source / file.path} is damaged: its hash is another.")


def _check_rows(engine: Engine, manifest: Manifest) -> None:
    with engine.connect() as connection:
        rows = count_rows(connection)
    # Once it was migrated there may be more tables, as empty as they were made.
    wrong = [name for name in manifest.rows if rows.get(name) != manifest.rows[name]]
    if wrong:
        raise BackupError(f"restored rows are not those that were kept, in {', '.join(wrong)}.")
