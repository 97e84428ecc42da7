"""Files and covers from a hub into the blob store, several at once; rows are written elsewhere."""

import shutil
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from crawler.covers import read_cover
from crawler.errors import CoverError, SourceError
from crawler.records import AdapterRecord, CoverRecord, Source
from registry.blobs import BlobStore, is_disk_full
from registry.db.arrivals import StoredCover
from registry.db.pending import PendingFetch
from registry.errors import DiskFullError
from registry.refresh.step import one_line

# Downloads wait for the network; more than this is rude to a hub.
THREADS = 8
# What comes within this time is stored together: small files of a folder come by hundreds.
SECONDS_TOGETHER = 0.25


@dataclass
class Fetched:
    """What came of one adapter. Problems are one line each."""

    adapter_id: int
    record: AdapterRecord
    # Set when the file is in the blob store and was wanted.
    sha256: str | None = None
    size: int = 0
    # What of it came from the hub just now; nothing where the blob store had it.
    fetched_bytes: int = 0
    covers: list[StoredCover] = field(default_factory=list)
    # Every cover was tried, and none may come with another try.
    covers_done: bool = False
    problems: list[str] = field(default_factory=list)
    # The hub did not answer: asking it for the next adapter may be in vain, too.
    hub_is_down: bool = False


def fetch_all(
    source: Source, wanted: Sequence[PendingFetch], blobs: BlobStore, folder: Path
) -> Iterator[list[Fetched]]:
    """Yield what came of each of `wanted`, as it comes: together what comes at about one time.

    Partial files in `folder` are resumed.

    Raises:
        DiskFullError: there is no room; what was yielded is complete.
    """
    # The same file under several names is fetched once: its adapters share a task.
    tasks: dict[str, list[PendingFetch]] = defaultdict(list)
    for want in wanted:
        tasks[want.record.file.sha256 or f"adapter {want.adapter_id}"].append(want)
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="fetch")
    try:
        waiting = {pool.submit(_fetch_task, source, task, blobs, folder) for task in tasks.values()}
        while waiting:
            wait(waiting, return_when=FIRST_COMPLETED)
            done, waiting = wait(waiting, timeout=SECONDS_TOGETHER)
            yield from _results(done)
    finally:
        # When interrupted, too, what has not begun is left for the next run.
        pool.shutdown(wait=True, cancel_futures=True)


def _results(done: Collection[Future[list[Fetched]]]) -> Iterator[list[Fetched]]:
    """Yield what came, once; then raise what kept the rest from coming."""
    errors = [error for future in done if (error := future.exception()) is not None]
    came = [fetched for future in done if future.exception() is None for fetched in future.result()]
    if came:
        yield sorted(came, key=lambda fetched: fetched.adapter_id)
    for error in errors:
        raise error


def _fetch_task(
    source: Source, task: Sequence[PendingFetch], blobs: BlobStore, folder: Path
) -> list[Fetched]:
    return [_fetch(source, want, blobs, folder) for want in task]


def _fetch(source: Source, want: PendingFetch, blobs: BlobStore, folder: Path) -> Fetched:
    fetched = Fetched(want.adapter_id, want.record)
    try:
        if want.needs_file:
            _fetch_file(source, blobs, folder, fetched)
        if want.needs_covers:
            _fetch_covers(source, want.record.covers, blobs, fetched)
    except DiskFullError:
        raise
    except Exception as error:
        # Any: what a stranger's file or answer breaks must not stop the others. It is
        # reported, and stays to be done.
        if is_disk_full(error):
            raise DiskFullError(folder) from error
        fetched.problems.append(one_line(error))
        fetched.hub_is_down = _may_pass(error)
    return fetched


def _fetch_file(source: Source, blobs: BlobStore, folder: Path, fetched: Fetched) -> None:
    """See that the file is in the blob store; note its hash and size."""
    announced = fetched.record.file.sha256
    if announced is not None and blobs.exists(announced):
        fetched.sha256, fetched.size = announced, blobs.path(announced).stat().st_size
        return
    path = source.download(fetched.record, folder)
    fetched.size = fetched.fetched_bytes = path.stat().st_size
    fetched.sha256 = blobs.put_file(path, expected=announced, move=True)
    # Below `folder` each file has a folder of its own, with the hub client's notes in it.
    shutil.rmtree(folder / path.relative_to(folder).parts[0])


def _fetch_covers(
    source: Source, covers: Sequence[CoverRecord], blobs: BlobStore, fetched: Fetched
) -> None:
    """Store those covers that are images; the others are problems, but no hindrance."""
    done = True
    for position, cover in enumerate(covers):
        try:
            read = read_cover(source.fetch_cover(cover))
        except (CoverError, SourceError) as error:
            fetched.problems.append(f"cover {position}: {one_line(error)}")
            done &= not _may_pass(error)
            continue
        fetched.covers.append(
            StoredCover(
                position=position,
                sha256=blobs.put_bytes(read.image),
                thumbnail_sha256=blobs.put_bytes(read.thumbnail),
                width=read.width,
                height=read.height,
                phash=read.phash,
                prompt=cover.prompt,
            )
        )
    fetched.covers_done = done


def _may_pass(error: Exception) -> bool:
    return isinstance(error, SourceError) and error.retryable
