"""One's own folders while a server runs: refreshed when asked, and when they change."""

import logging
import stat
import threading
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

from watchfiles import Change, watch

from crawler.errors import AutoLoraError
from crawler.sources.folder import is_hidden
from registry.api.errors import log_hidden
from registry.errors import RefreshUnderWayError
from registry.service import Registry

logger = logging.getLogger(__name__)

# What is copied in takes a while; a refresh in the middle of it would read half of a file. So long
# nothing changes in a folder before it is refreshed.
SETTLED_MILLISECONDS = 3000
# One in which something always changes is refreshed so often all the same.
MOST_UNSETTLED_SECONDS = 600.0
# After so long without a folder it is looked whether some were added.
LOOK_SECONDS = 5.0
# How long another process has the watch or a folder, or the database is away, before it is tried
# again.
AGAIN_SECONDS = 15.0


class FolderKeeper:
    """Refreshes folders one after the other, in a thread of its own."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="folders")
        # The one at work, and those that come after it, in this order: whether covers are to be
        # drawn there too.
        self._at_work: Path | None = None
        self._waiting: dict[Path, bool] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._watcher: threading.Thread | None = None

    def ask(self, folder: Path, *, draw_covers: bool = False) -> None:
        """Have a folder refreshed, once for all who ask before it begins.

        With `draw_covers`, its adapters without a cover are given one afterwards.
        """
        with self._lock:
            if self._closing.is_set():
                return
            if folder not in self._waiting:
                self._executor.submit(self._refresh, folder)
            self._add_waiting(folder, draw_covers)

    def is_busy(self) -> bool:
        """Whether a folder is refreshed here, or waits for that."""
        with self._lock:
            return self._at_work is not None or bool(self._waiting)

    def before(self, folder: Path) -> list[Path]:
        """Return the folders that a waiting one waits for, the one at work first."""
        with self._lock:
            if folder not in self._waiting:
                return []
            earlier = [self._at_work, *takewhile(lambda one: one != folder, self._waiting)]
            return [one for one in earlier if one not in (None, folder)]

    def watch(self) -> None:
        """Refresh folders whenever something in them changes, until `close`.

        Of several servers over one database one does.
        """
        self._watcher = threading.Thread(target=self._watch, name="watch", daemon=True)
        self._watcher.start()

    def close(self) -> None:
        """End, after the adapter at work or the step of its cover; the next goes on from there."""
        with self._lock:
            self._closing.set()
        self._executor.shutdown(wait=True, cancel_futures=True)
        if self._watcher is not None:
            self._watcher.join()

    def _refresh(self, folder: Path) -> None:
        with self._lock:
            draw_covers = self._waiting.pop(folder)
            self._at_work = folder
        try:
            folders = self._registry.folders
            folders.refresh(folder, self._closing.is_set, draw_covers=draw_covers)
        except RefreshUnderWayError:
            self._ask_again(folder, draw_covers)
        except AutoLoraError as error:
            log_hidden(f"refreshing {folder}", error)
        except Exception:
            # Any: nobody else waits for this thread's work.
            logger.exception("refreshing %s", folder)
        finally:
            with self._lock:
                self._at_work = None

    def _ask_again(self, folder: Path, draw_covers: bool) -> None:
        """Have a folder wait until another process may be done with it; others go first."""
        with self._lock:
            if folder not in self._waiting:
                timer = threading.Timer(AGAIN_SECONDS, self._submit, [folder])
                timer.daemon = True
                timer.start()
            self._add_waiting(folder, draw_covers)

    def _submit(self, folder: Path) -> None:
        with self._lock:
            if not self._closing.is_set():
                self._executor.submit(self._refresh, folder)

    def _add_waiting(self, folder: Path, draw_covers: bool) -> None:
        self._waiting[folder] = draw_covers or self._waiting.get(folder, False)

    def _watch(self) -> None:
        while not self._closing.is_set():
            try:
                with self._registry.folders.watched_by_one() as mine:
                    if mine:
                        self._follow()
            except AutoLoraError as error:
                log_hidden("watching folders", error)
            except OSError as error:
                # The system allows only so many watches, or a folder is gone.
                logger.warning("watching folders: %s", error)
            self._closing.wait(AGAIN_SECONDS)

    def _follow(self) -> None:
        """Watch the folders that there are, until there are others."""
        self._registry.folders.bring_dropped()
        folders = self._there()
        for folder in folders:
            # What changed while nobody watched.
            self.ask(folder)
        changing = Changing()
        while not self._closing.is_set():
            if not folders:
                self._closing.wait(LOOK_SECONDS)
            else:
                for changes in watch(
                    *folders,
                    watch_filter=None,
                    debounce=SETTLED_MILLISECONDS,
                    step=SETTLED_MILLISECONDS // 3,
                    stop_event=self._closing,
                    rust_timeout=SETTLED_MILLISECONDS,
                    yield_on_timeout=True,
                    raise_interrupt=False,
                    ignore_permission_denied=True,
                ):
                    for folder in changing.settled(_changed(folders, changes)):
                        self.ask(folder)
                    if self._there() != folders:
                        break
            now = self._there()
            for folder, place in now.items():
                if place != folders.get(folder):
                    self.ask(folder)
            folders = now

    def _there(self) -> dict[Path, tuple[int, int]]:
        """Return the folders that there are, and what each of them is by now.

        What is mounted on a folder, or takes its name, is another: nobody watches it yet.
        """
        there = {}
        for folder in self._registry.folders.paths():
            # One that cannot even be looked at keeps nobody from the others.
            with suppress(OSError):
                facts = folder.stat()
                if stat.S_ISDIR(facts.st_mode):
                    there[folder] = facts.st_dev, facts.st_ino
        return there


class Changing:
    """Folders in which something changed since they were refreshed last."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[Path, float] = {}

    def settled(self, changed: Collection[Path]) -> list[Path]:
        """Take those that just `changed`; return, and forget, those that are to be refreshed."""
        now = self._clock()
        settled = [
            folder
            for folder, since in self._since.items()
            if folder not in changed or now - since > MOST_UNSETTLED_SECONDS
        ]
        for folder in settled:
            del self._since[folder]
        for folder in changed:
            self._since.setdefault(folder, now)
        return settled


def _changed(folders: Iterable[Path], changes: Iterable[tuple[Change, str]]) -> list[Path]:
    """Return the folders in which something changed that is not hidden, such as half an upload."""
    paths = [Path(path) for _, path in changes]
    return [f for f in folders if any(_is_shown(path, f) for path in paths)]


def _is_shown(path: Path, folder: Path) -> bool:
    return path.is_relative_to(folder) and not any(
        is_hidden(part) for part in path.relative_to(folder).parts
    )
