"""A backup: one folder with the database, the blobs and the other files of a home.

    PATH/manifest.json   what is in it; written last
    PATH/database.dump   pg_dump's own format
    PATH/blobs/ab/ab12…  as in the home; where it can be, the same file under a second name
    PATH/files/…         whatever else lies in the home

The database is of one moment. Blobs never change, and those that it names at that moment are
taken: before the dump all that there are, after it those that came meanwhile.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from crawler.hashed_file import hash_file
from registry.blobs import CHUNK_BYTES, make_private
from registry.config import Settings
from registry.db.blob_names import named_blobs
from registry.db.dumps import written_dump
from registry.errors import BackupError
from registry.running import tells_of_server

MANIFEST = "manifest.json"
DUMP = "database.dump"
BLOBS = "blobs"
FILES = "files"
# What in a home is not copied file by file: the database and the blobs have ways of their own,
# what was downloaded in part is fetched again, what another registry has is its own, and what a
# lesson needs while it lasts may be as large as all the rest. Nor is what tells of the server that
# runs: who restores it elsewhere would be answered by that one.
OWN_WAY = ("blobs", "postgres", "downloads", "remote", "learning")
# A file that is being sent; what a killed server left of one is nothing to keep either.
HALF_SENT = ".*.partial"

# Told of (done, total) blobs.
Progress = Callable[[int, int], None]


class KeptFile(BaseModel):
    """A file of the home by its path there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    sha256: str


class Manifest(BaseModel):
    """What a backup holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    created_at: datetime
    revision: str
    rows: dict[str, NonNegativeInt]
    dump_sha256: str
    blobs: NonNegativeInt
    blob_bytes: NonNegativeInt
    # Where blobs are that several machines share, and that are not in the backup.
    blobs_url: str | None
    files: list[KeptFile]
    # Blobs that were damaged, and those that the database named and nobody had: not in it.
    damaged: list[str]
    missing: list[str]


def make_backup(
    settings: Settings,
    sessions: sessionmaker[Session],
    path: Path,
    progress: Progress,
    *,
    link: bool = True,
) -> Manifest:
    """Keep all of a registry in the new folder `path`, while it goes on working.

    The folder appears whole or not at all. With `link` no blob takes room twice, where the
    folder is on the disk of the home.

    Raises:
        BackupError: there is something at `path`, or somebody else is writing there.
        DatabaseError: the database cannot be dumped.
    """
    path = path.absolute()
    if path.exists():
        raise BackupError(f"{path} is there already; name a new folder for the backup.")
    if settings.home.resolve() in path.resolve().parents:
        # It would hold itself, and the next one both.
        raise BackupError(
            f"{path} lies in {settings.home}, which is what is kept; name a folder outside of it."
        )
    shared = settings.blobs_url is not None
    with _told(path), _made_whole(path) as partial:
        kept = _Blobs(settings.blobs, partial / BLOBS, link)
        if not shared:
            kept.take(progress)
        dump = partial / DUMP
        engine = sessions.kw["bind"]
        assert isinstance(engine, Engine)
        with written_dump(engine, dump) as (facts, session):
            missing = set[str]()
            if not shared:
                kept.take(progress)
                missing = _missing(session, kept) - set(kept.damaged)
        manifest = Manifest(
            created_at=datetime.now(UTC),
            revision=facts.revision,
            rows=facts.rows,
            dump_sha256=synced_hash(dump),
            blobs=kept.count,
            blob_bytes=kept.size,
            blobs_url=settings.blobs_url,
            files=list(_keep_files(settings.home, partial / FILES)),
            damaged=kept.damaged,
            missing=sorted(missing),
        )
        written = partial / MANIFEST
        written.write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
        synced_hash(written)
    return manifest


class _Blobs:
    """The blobs of a store, taken into a folder."""

    def __init__(self, store: Path, folder: Path, link: bool) -> None:
        self.store = store
        self.folder = folder
        self.link = link
        self.count = 0
        self.size = 0
        self.damaged: list[str] = []

    def take(self, progress: Progress) -> None:
        """Take what is not taken yet."""
        make_private(self.folder)
        total = sum(1 for _ in blobs_in(self.store))
        for done, source in enumerate(blobs_in(self.store), 1):
            target = self.folder / source.parent.name / source.name
            if not target.exists() and source.name not in self.damaged:
                self._take(source, target)
            progress(done, total)

    def _take(self, source: Path, target: Path) -> None:
        make_private(target.parent)
        try:
            sha256 = take_file(source, target, link=self.link)
        except FileNotFoundError:
            return  # dropped meanwhile
        if sha256 != source.name:
            target.unlink()
            self.damaged.append(source.name)
            return
        self.count += 1
        self.size += target.stat().st_size


def take_file(source: Path, target: Path, *, link: bool) -> str:
    """Give a file a second name, or copy it where that cannot be; return its sha256."""
    if link:
        try:
            target.hardlink_to(source)
        except FileNotFoundError:
            raise
        except OSError:
            # Another disk, or one without links, or a file that is not ours to link.
            pass
        else:
            return hash_file(target)
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("xb") as writer:
        while chunk := reader.read(CHUNK_BYTES):
            digest.update(chunk)
            writer.write(chunk)
        os.fchmod(writer.fileno(), os.fstat(reader.fileno()).st_mode & 0o700)
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest()


def synced_hash(path: Path) -> str:
    """Return a file's sha256, once it is on the disk."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
    return hash_file(path)


def blobs_in(store: Path) -> Iterator[Path]:
    """Yield the blobs of a folder, but for those that are being written."""
    if not store.is_dir():
        return
    for folder in sorted(store.iterdir()):
        if len(folder.name) == 2 and folder.is_dir():
            yield from sorted(folder.iterdir())


def _keep_files(home: Path, folder: Path) -> Iterator[KeptFile]:
    """Copy what else lies in a home; links are left to whoever made them."""
    for entry in sorted(home.iterdir()) if home.is_dir() else ():
        if has_own_way(entry.name):
            continue
        for source in (entry, *sorted(entry.rglob("*"))):
            if source.is_file() and not source.is_symlink() and not source.match(HALF_SENT):
                inside = source.relative_to(home)
                target = folder / inside
                make_private(target.parent)
                try:
                    sha256 = take_file(source, target, link=False)
                except FileNotFoundError:
                    continue  # thrown away meanwhile
                yield KeptFile(path=inside.as_posix(), sha256=sha256)


def has_own_way(name: str) -> bool:
    """Whether an entry of a home is not copied as a file."""
    return name in OWN_WAY or name.startswith("postgres.") or tells_of_server(name)


def _missing(session: Session, kept: _Blobs) -> set[str]:
    """Return the blobs that the database names and the backup has not."""
    return {
        blob.sha256
        for blob in named_blobs(session)
        if not (kept.folder / blob.sha256[:2] / blob.sha256).exists()
    }


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say in one line why a backup cannot be written, or what cannot be read for it."""
    try:
        yield
    except OSError as error:
        at = "" if error.filename in (None, str(path)) else f" ({error.filename})"
        raise BackupError(
            f"the backup cannot be made at {path}: {error.strerror or error}{at}. "
            "Nothing is left of it. Name a folder that can be written to, on a disk with room."
        ) from error


@contextmanager
def _made_whole(path: Path) -> Iterator[Path]:
    """Give a folder beside `path` that becomes it at the end; what killed ones left is removed.

    Of others beside it, too: each may bear the name of its day, and be as large as the registry.
    """
    partial = path.with_name(f".{path.name}.partial")
    make_private(partial)
    _remove_left(partial)
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        try:
            # The kernel frees it when its holder dies.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BackupError(f"another backup is being written to {path}.") from error
        try:
            for left in partial.iterdir():
                _remove(left)
            yield partial
            os.fsync(descriptor)
            partial.rename(path)
        except BaseException:
            shutil.rmtree(partial)
            raise
    finally:
        os.close(descriptor)


def _remove_left(partial: Path) -> None:
    """Remove what was begun beside a folder as such a one is, and nobody writes to any more."""
    for left in partial.parent.glob(HALF_SENT):
        # One that cannot be looked at or removed is in nobody's way.
        with suppress(OSError):
            if left == partial or left.is_symlink() or not left.is_dir():
                continue
            names = {entry.name for entry in left.iterdir()}
            if not names or not names <= {BLOBS, DUMP, FILES, MANIFEST}:
                continue
            descriptor = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left)
            finally:
                os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
