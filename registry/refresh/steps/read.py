"""Files -> verdicts, fingerprints and sketches."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session, sessionmaker

from registry.blobs import BlobStore
from registry.db import adapters, pending
from registry.db.claims import load_beside
from registry.db.reading_facts import NOTHING, Reading
from registry.db.readings import refuse_latecomers, store_readings
from registry.errors import BlobMismatchError, BlobNotFoundError
from registry.refresh.bases import find_bases
from registry.refresh.file_readers import FileReaders, count_processes
from registry.refresh.reading import ReadTask, read_file, reader_version
from registry.refresh.step import RefreshContext, SharedStep, StepOutcome

# Files taken from the list at once.
PAGE = 512
# Files that are stored together, and how large they may be together: what a kill costs is reading
# these, and those that are read meanwhile, once more. A sketch of 1 MB is kept of each.
TOGETHER, BYTES_TOGETHER = 32, 64_000_000
# So many of those groups are read while one is stored.
AHEAD = 2

# Begins to read files; gives what comes of them.
Begin = Callable[[Sequence[ReadTask]], Iterator[Reading | str]]
# Gives where a file lies, or None where it is to be fetched again.
Find = Callable[[pending.PendingFile], Path | None]


class ReadStep(SharedStep):
    """Reads and sketches files; one outcome a file. A bad file refuses its adapters.

    Many files are read in processes beside this one.
    """

    name = "read"
    title = "Reading files"
    queue = "read"
    page = PAGE
    job = 1

    def __init__(self, context: RefreshContext) -> None:
        super().__init__(context)
        self._readers: FileReaders | None = None

    def get_ready(self, count: int) -> None:
        # What is not kept is read as it comes.
        if self.context.settings.keep_files == "all":
            self._start_readers(count)

    def _start_readers(self, files: int) -> None:
        if self._readers is None and (processes := count_processes(files)):
            self._readers = FileReaders(processes)
            self._readers.warm_up()

    def close(self) -> None:
        if self._readers is not None:
            self._readers.close()
            self._readers = None

    def remaining(self) -> int:
        with self.context.sessions() as session:
            return pending.count_to_read(session, reader_version())

    def run(self) -> Iterator[StepOutcome]:
        self._start_readers(self.remaining())
        yield from super().run()

    def list_keys(self, size: int) -> Iterator[list[str]]:
        after = ""
        while True:
            with self.context.sessions() as session:
                hashes = pending.keys_to_read(session, reader_version(), after, PAGE)
            if not hashes:
                return
            yield from (hashes[start : start + size] for start in range(0, len(hashes), size))
            after = hashes[-1]

    def finish(self) -> Iterator[StepOutcome]:
        with self.context.sessions.begin() as session:
            refused = refuse_latecomers(session)
        yield from (StepOutcome(name, False, f"refused: {reason}") for name, reason in refused)

    def do(self, keys: Sequence[str]) -> Iterator[StepOutcome]:
        sessions, version = self.context.sessions, reader_version()
        with sessions() as session:
            files = pending.list_to_read(session, version, keys)
        begin = read_here if self._readers is None else self._readers.begin
        bases = find_bases(sessions, self.context.blobs)
        find = _finder(self.context.blobs)
        begun: deque[_Begun] = deque()
        # The next ones are read while those before are stored.
        for group in _groups(files):
            begun.append(_begin(sessions, find, group, version, bases, begin))
            if len(begun) > AHEAD:
                yield from _finish(sessions, begun.popleft())
        for group_begun in begun:
            yield from _finish(sessions, group_begun)


def _groups(files: Iterable[pending.PendingFile]) -> Iterator[list[pending.PendingFile]]:
    """Part files into those that are stored together."""
    group: list[pending.PendingFile] = []
    size = 0
    for file in files:
        if group and (len(group) == TOGETHER or size + (file.size or 0) > BYTES_TOGETHER):
            yield group
            group, size = [], 0
        group.append(file)
        size += file.size or 0
    if group:
        yield group


def read_here(tasks: Sequence[ReadTask]) -> Iterator[Reading | str]:
    """Read files in this process, each when it is asked for."""
    return map(read_file, tasks)


def read_stored(
    sessions: sessionmaker[Session],
    blobs: BlobStore,
    files: Sequence[pending.PendingFile],
    version: str,
) -> list[StepOutcome]:
    """Read files of the blob store, and store what they are, or why they are refused."""
    return read_files(sessions, _finder(blobs), files, version, find_bases(sessions, blobs))


def read_files(
    sessions: sessionmaker[Session],
    find: Find,
    files: Sequence[pending.PendingFile],
    version: str,
    bases: Mapping[str, Path],
) -> list[StepOutcome]:
    """Read files and store what they are; what `find` does not find is to be fetched again.

    `bases` are those that files of a family are sketched in beside the usual one.
    """
    return _finish(sessions, _begin(sessions, find, files, version, bases, read_here))


@dataclass(frozen=True, slots=True)
class _Begun:
    """Files that are being read, in one order; those that are not here."""

    files: Sequence[pending.PendingFile]
    readings: Iterator[Reading | str]
    lost: Sequence[pending.PendingFile]


def _finder(blobs: BlobStore) -> Find:
    def find(file: pending.PendingFile) -> Path | None:
        try:
            # What a broken disk left of it says nothing of what its author made.
            return None if blobs.discard_cut(file.sha256, file.size) else blobs.path(file.sha256)
        except BlobNotFoundError:
            return None
        except BlobMismatchError:
            blobs.discard(file.sha256)
            return None

    return find


def _begin(
    sessions: sessionmaker[Session],
    find: Find,
    files: Sequence[pending.PendingFile],
    version: str,
    bases: Mapping[str, Path],
    begin: Begin,
) -> _Begun:
    with sessions() as session:
        beside = load_beside(session, [file.sha256 for file in files])
    here, lost, tasks = list[pending.PendingFile](), list[pending.PendingFile](), list[ReadTask]()
    for file in files:
        path = find(file)
        if path is None:
            lost.append(file)
        else:
            here.append(file)
            known = beside.get(file.sha256, NOTHING)
            tasks.append(ReadTask(path, file.sha256, version, known, bases))
    return _Begun(here, begin(tasks), lost)


def _finish(sessions: sessionmaker[Session], begun: _Begun) -> list[StepOutcome]:
    """Wait for files that are being read, and store what they are."""
    outcomes: list[StepOutcome] = []
    readings: list[Reading] = []
    for file, reading in zip(begun.files, begun.readings, strict=True):
        if isinstance(reading, str):
            # It is reported, and stays to do.
            outcomes.append(StepOutcome(file.adapter, False, reading))
        else:
            readings.append(reading)
            outcomes.append(_outcome(file, reading))
    outcomes += (
        StepOutcome(file.adapter, False, str(BlobNotFoundError(file.sha256))) for file in begun.lost
    )
    with sessions.begin() as session:
        store_readings(session, readings)
        for file in begun.lost:
            adapters.forget_file(session, file.sha256)
    return outcomes


def _outcome(file: pending.PendingFile, reading: Reading) -> StepOutcome:
    if reading.refusal:
        return StepOutcome(file.adapter, False, f"refused: {reading.refusal}")
    return StepOutcome(file.adapter, message=reading.columns["verdict"]["sketch_refusal"] or "")
