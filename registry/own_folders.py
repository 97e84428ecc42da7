"""One's own folders of adapters: added, refreshed when they change, and rid of copies."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path, PurePath
from uuid import uuid4

from sqlalchemy.orm import Session, sessionmaker

from crawler.disk import is_folder
from crawler.errors import AutoLoraError
from crawler.hashed_file import hash_file
from crawler.sources.folder.names import why_not_stored
from encoder.adapter.safetensors_header import read_header
from encoder.errors import HeaderError, NotSafetensorsError
from encoder.text_encoder import TextEncoder
from registry.blobs import BlobStore, disk_errors, make_private
from registry.config import Settings
from registry.db import own_folders
from registry.db.holds import hold
from registry.db.nested_folders import is_part_of
from registry.db.own_folders import FolderFacts
from registry.db.session import one_line_errors, transaction
from registry.errors import (
    FileTakenError,
    FolderNotWatchedError,
    NoFolderError,
    NotTrashedError,
    RefreshUnderWayError,
)
from registry.fusion.errors import GenerationCancelledError
from registry.fusion.studio import Studio
from registry.refresh.pipeline import Pipeline
from registry.refresh.problems import reported
from registry.refresh.sources import open_source
from registry.retrieval.copies import Copy, find_copies, own_files

SUFFIX = ".safetensors"
# Covers that are drawn at once where a person asks for it; asked again, it goes on.
MOST_DRAWN = 1000
# Half a file to which nobody added for so long was left by a killed server.
STALE_SECONDS = 86_400
# Names that any file system takes, and that hide nothing.
PLAIN = re.compile(r"[^./:*?\"<>|\\][^/:*?\"<>|\\]*\.safetensors", re.I)
# What ext4, APFS and NTFS allow for a name.
MOST_NAME_BYTES = 255


class OwnFolders:
    """What `registry.db.own_folders` says, and what is done with the folders themselves."""

    def __init__(
        self,
        sessions: sessionmaker[Session],
        blobs: BlobStore,
        settings: Settings,
        text_encoder: TextEncoder,
        studio: Studio,
    ) -> None:
        self._sessions, self._blobs = sessions, blobs
        self._settings, self._text_encoder = settings, text_encoder
        self._studio = studio

    @property
    def dropped(self) -> Path:
        """Where files are put that people drop on the page."""
        return self._settings.home / "dropped"

    def all(self) -> list[FolderFacts]:
        with transaction(self._sessions) as session:
            return own_folders.list_folders(session)

    def unwatched(self) -> list[str]:
        """Return folders that `autolora refresh` read, and that are not watched."""
        with transaction(self._sessions) as session:
            return own_folders.list_unwatched(session)

    def paths(self) -> list[Path]:
        with transaction(self._sessions) as session:
            return [Path(path) for path in own_folders.list_paths(session)]

    def add(self, path: str) -> Path:
        """Watch a folder; return it as it is written from now on.

        Those that are part of it are watched with it, and no more by themselves.

        Raises:
            NoFolderError: it is not one, may not be read, is this registry's own, or is part of
                one that is watched.
        """
        # As a desktop copies it.
        folder = Path(path.strip().strip("\"'"))
        try:
            folder = folder.expanduser()
            if not folder.is_absolute():
                raise NoFolderError(path, "write the whole path, from its root on")
            folder = folder.resolve()
            next(folder.iterdir(), None)
        except OSError as error:
            raise NoFolderError(path, (error.strerror or str(error)).lower()) from error
        except (ValueError, RuntimeError) as error:
            # Nobody has the home that is meant, or a link leads to itself.
            raise NoFolderError(path, str(error).rstrip(".")) from error
        home = self._settings.home.resolve()
        is_own = home in folder.parents or folder in (home, *home.parents)
        if is_own and folder != self.dropped.resolve():
            raise NoFolderError(path, "this registry's own files lie there")
        with transaction(self._sessions) as session:
            for other in map(Path, own_folders.list_paths(session)):
                if is_part_of(folder, other):
                    raise NoFolderError(path, f"it is part of {other}, which is watched already")
                if is_part_of(other, folder):
                    own_folders.remove_folder(session, str(other))
            own_folders.add_folder(session, str(folder))
        return folder

    def bring_dropped(self) -> None:
        """Have what was dropped be listed where it lies, after the home was moved or restored.

        Else it would be listed a second time from there, and what was listed never looked at.
        """
        dropped = self.dropped.resolve()
        if not is_folder(dropped):
            return
        names = [path.name for path in dropped.glob(f"*{SUFFIX}")]
        with transaction(self._sessions) as session:
            paths = own_folders.list_paths(session)
            away = [old for old in map(Path, paths) if old.name == dropped.name]
            for old in away if str(dropped) not in paths else ():
                # One of this name on a disk that is not mounted has other files.
                if not is_folder(old) and own_folders.is_of_another(
                    session, str(dropped), str(old), names
                ):
                    own_folders.move_folder(session, str(dropped), str(old))
                    return

    def remove(self, path: str) -> None:
        """Watch a folder no more; its adapters stay. Or raise FolderNotWatchedError."""
        folder = self.watched(path)
        with transaction(self._sessions) as session:
            own_folders.remove_folder(session, str(folder))

    def watched(self, path: str) -> Path:
        """Return a folder that is watched, or raise FolderNotWatchedError."""
        folder = Path(path)
        if folder not in self.paths():
            raise FolderNotWatchedError(path)
        return folder

    @contextmanager
    def watched_by_one(self) -> Iterator[bool]:
        """Tell whether the caller is the one who watches folders now, and let him be it."""
        with one_line_errors(), hold(self._sessions.kw["bind"], "watch", ["folders"]) as mine:
            yield bool(mine)

    def refresh(
        self,
        folder: Path,
        is_over: Callable[[], bool] = lambda: False,
        *,
        draw_covers: bool = False,
    ) -> None:
        """Index what changed in a folder; how far it is, and what was wrong, is told by `all`.

        With `draw_covers`, all adapters without a cover are given one, whatever the settings say.
        It ends early when `is_over` says so, and goes on from there the next time.

        Raises:
            RefreshUnderWayError: another process is at it, and will not see what comes after it
                has listed the folder.
        """
        settings = self._settings
        if draw_covers:
            settings = settings.model_copy(update={"draw_covers": MOST_DRAWN})

        def check(done: int, total: int) -> None:
            if is_over():
                raise GenerationCancelledError

        problem = None
        try:
            with closing(open_source(str(folder), settings)) as source:
                pipeline = Pipeline(
                    self._sessions, self._blobs, settings, self._text_encoder, self._studio, check
                )
                with closing(pipeline.refresh(source)) as refreshed:
                    for _ in refreshed:
                        if is_over():
                            break
        except GenerationCancelledError:
            # What it was told to do; the cover is drawn the next time.
            pass
        except RefreshUnderWayError:
            raise
        except AutoLoraError as error:
            problem = reported(error)
        with transaction(self._sessions) as session:
            own_folders.tell(session, str(folder), problem)

    def begin_file(self, name: str, size: int | None) -> Path:
        """Return where the bytes of a file go that is dropped on the page: by `add_to_file`.

        Then `keep_file`.

        Raises:
            FileTakenError: its name is none for an adapter's file.
            NoRoomError, FileTooLargeError: it may not be had here.
        """
        if not PLAIN.fullmatch(name):
            raise FileTakenError(name, f"only files called something{SUFFIX} are taken")
        if why := why_not_stored(PurePath(name)):
            raise FileTakenError(name, why)
        if len(name.encode()) > MOST_NAME_BYTES:
            raise FileTakenError(name, f"its name has over {MOST_NAME_BYTES} bytes; rename it")
        make_private(self.dropped)
        self._clean()
        limits = self._settings.disk_limits
        limits.check_size(name, size or 0)
        limits.check_room(name, self.dropped, size or 0)
        return self.dropped / f".{uuid4().hex}.partial"

    def add_to_file(self, name: str, partial: Path, chunk: bytes) -> None:
        """Write what came of a file that was begun. Its size may have been told wrong, or not.

        Raises:
            NoRoomError: it would enter the reserve.
            DiskError: there is no room at all, or nothing may be written.
        """
        self._settings.disk_limits.check_room(name, self.dropped, len(chunk))
        with disk_errors(self.dropped), partial.open("ab") as target:
            target.write(chunk)

    def _clean(self) -> None:
        """Remove what killed servers left of files that were being sent."""
        for partial in self.dropped.glob(".*.partial"):
            # Another process may be cleaning, too.
            with suppress(FileNotFoundError):
                if partial.stat().st_mtime < time.time() - STALE_SECONDS:
                    partial.unlink()

    def keep_file(self, name: str, partial: Path) -> Path:
        """Give a file its name; return its folder, which is watched from now on.

        One of that name that is broken, as sending leaves it that was cut off, gives way.

        Raises:
            FileTakenError: another file has that name.
        """
        path = self.dropped / name
        if path.exists() and _is_whole(path) and hash_file(path) != hash_file(partial):
            raise FileTakenError(name, "another file of this name is here; rename it")
        self.bring_dropped()
        # First: a kill between the two would leave a file that nothing ever indexes.
        folder = self.add(str(self.dropped))
        partial.replace(path)
        return folder

    def copies(self) -> Sequence[Sequence[Copy]]:
        """Return groups of files in own folders that are the same adapter by their weights."""
        with transaction(self._sessions) as session:
            return find_copies(session)

    def trash(self, adapter_ids: Sequence[int]) -> list[Path]:
        """Move adapters' files to the trash of this machine; return their folders.

        What lies beside them stays. They are gone from search when their folder is refreshed.

        Raises:
            NotTrashedError: a file is not in a folder here, is not the one that was indexed, or
                there is no trash; those before it are in the trash.
        """
        from send2trash import send2trash

        with transaction(self._sessions) as session:
            files = own_files(session, adapter_ids)
        folders = []
        for adapter_id in adapter_ids:
            file = files.get(adapter_id)
            if file is None:
                raise NotTrashedError(f"adapter {adapter_id}", "it is not in a folder of yours")
            try:
                if hash_file(file.path) != file.sha256:
                    raise NotTrashedError(str(file.path), "it has changed since it was indexed")
                send2trash(file.path)
            except OSError as error:
                raise NotTrashedError(str(file.path), error.strerror or str(error)) from error
            folders.append(file.folder)
        return list(dict.fromkeys(folders))


def _is_whole(path: Path) -> bool:
    """Whether a file is as long as its header says, and that makes sense."""
    try:
        read_header(path)
    except (HeaderError, NotSafetensorsError):
        return False
    return True
