"""Files and covers from a hub into the blob store, several at once; rows are written elsewhere."""

import io
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from crawler.covers import read_cover
from crawler.errors import CoverError, HubRestingError, SourceError, WithheldError
from crawler.hashed_file import HashedFile
from crawler.manners import DEFAULT_MANNERS
from crawler.records import AdapterRecord, CoverRecord, FileRecord, HeaderSource, Source
from registry.blobs import BlobStore, is_disk_full
from registry.db.arrivals import StoredCover
from registry.db.pending import PendingFetch
from registry.errors import DiskError, DiskFullError
from registry.refresh.judging import HeaderJudge, Judgement
from registry.refresh.problems import reported

# A hub that does not answer after so many rests in a row, each twice as long, is left for the next
# refresh.
MOST_RESTS = 3
SHORTEST_REST_SECONDS = 0.1
# What comes within this time is stored together: small files of a folder come by hundreds.
SECONDS_TOGETHER = 0.25
# Of a file no longer than this the header is not asked for first: it would be an eighth of it.
SHORT_BYTES = 2**20


@dataclass
class Fetched:
    """What came of one adapter. Problems are one line each."""

    adapter_id: int
    record: AdapterRecord
    # Set when the file is in the blob store and was wanted.
    sha256: str | None = None
    size: int = 0
    # Whether the file is to stay. If not, and it came just now, where it is to be read.
    is_kept: bool = True
    path: Path | None = None
    # What of it came from the hub just now; nothing where it was here already.
    fetched_bytes: int = 0
    # By the file's header, where it was asked.
    judgement: Judgement | None = None
    covers: list[StoredCover] = field(default_factory=list)
    # Every cover was tried, and none may come with another try.
    covers_done: bool = False
    problems: list[str] = field(default_factory=list)
    # Why its hub gives the file to nobody, where only asking for it told that.
    withheld: str = ""
    # The hub rests, and the adapter waits for its turn.
    resting: HubRestingError | None = None

    @property
    def refusal(self) -> str:
        """Why its file is not wanted, by its header; "" where it is."""
        return self.judgement.refusal if self.judgement else ""


class Fetcher:
    """Fetches what adapters of one source lack; partial files in `folder` are resumed."""

    def __init__(
        self,
        source: Source,
        blobs: BlobStore,
        folder: Path,
        judge: HeaderJudge,
        is_known: Callable[[str], bool] = lambda _: False,
        threads: int = DEFAULT_MANNERS.downloads,
    ) -> None:
        """`is_known` tells of a hash that was not listed whether its file was read and dropped."""
        self._source, self._blobs, self._folder = source, blobs, folder
        self._judge, self._is_known = judge, is_known
        self._threads = threads

    def fetch_all(
        self, wanted: Sequence[PendingFetch], rests: list[str] | None = None
    ) -> Iterator[list[Fetched]]:
        """Yield what came of each of `wanted`, as it comes: together what comes at one time.

        A hub that fails is let rest, which is told in `rests`, and asked again.

        Raises:
            SourceError: the hub does not answer, however long it was let rest.
            DiskError: nothing can be stored; what was yielded is complete.
        """
        left = {want.adapter_id: want for want in wanted}
        while left:
            resting = None
            for came in self._fetch_once(list(left.values())):
                resting = next((one.resting for one in came if one.resting), resting)
                if done := [one for one in came if not one.resting]:
                    yield done
                for one in done:
                    del left[one.adapter_id]
            if resting is not None:
                self._rest(resting)
                if rests is not None:
                    rests.append(str(resting))

    def _rest(self, resting: HubRestingError) -> None:
        if resting.is_asked_for:
            raise SourceError(
                f"{resting}; fetching stopped. Run again then: it goes on where it stopped."
            ) from resting
        if resting.rests > MOST_RESTS:
            raise SourceError(
                f"{self._source.hub} does not come back after {MOST_RESTS} rests; fetching "
                "stopped. Run again later: it goes on where it stopped."
            ) from resting
        # Somebody else may be asking whether it is back: a moment at least.
        time.sleep(max(resting.retry_after_seconds or 0.0, SHORTEST_REST_SECONDS))

    def _fetch_once(self, wanted: Sequence[PendingFetch]) -> Iterator[list[Fetched]]:
        # The same file under several names is fetched once: its adapters share a task.
        tasks: dict[str, list[PendingFetch]] = defaultdict(list)
        for want in wanted:
            tasks[want.record.file.sha256 or f"adapter {want.adapter_id}"].append(want)
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="fetch")
        try:
            waiting = {pool.submit(self._fetch_task, task) for task in tasks.values()}
            while waiting:
                wait(waiting, return_when=FIRST_COMPLETED)
                done, waiting = wait(waiting, timeout=SECONDS_TOGETHER)
                yield from _results(done)
        finally:
            # When interrupted, too, what has not begun is left for the next run.
            pool.shutdown(wait=True, cancel_futures=True)

    def remove(self, path: Path) -> None:
        """Remove a file that was fetched, with the folder of its own below `folder`."""
        shutil.rmtree(self._folder / path.relative_to(self._folder).parts[0])

    def _fetch_task(self, task: Sequence[PendingFetch]) -> list[Fetched]:
        return [self._fetch(want) for want in task]

    def _fetch(self, want: PendingFetch) -> Fetched:
        fetched = Fetched(want.adapter_id, want.record)
        try:
            if want.needs_file:
                self._fetch_file(want, fetched)
            if want.needs_covers and not fetched.refusal:
                _fetch_covers(self._source, want.record.covers, self._blobs, fetched)
        except DiskError:
            raise
        except HubRestingError as error:
            fetched.resting = error
        except WithheldError as error:
            fetched.withheld = reported(error)
            fetched.problems.append(fetched.withheld)
        except Exception as error:
            # Any: what a stranger's file or answer breaks must not stop the others. It is
            # reported, and stays to be done.
            if is_disk_full(error):
                raise DiskFullError(self._folder) from error
            fetched.problems.append(reported(error))
        return fetched

    def _fetch_file(self, want: PendingFetch, fetched: Fetched) -> None:
        """See that the file is here, or why it is not wanted; note its hash and size."""
        listed = want.record.file
        if self._is_here(listed.sha256, fetched, was_read=want.was_read):
            return
        if isinstance(self._source, HeaderSource) and _is_long(listed):
            header = self._source.read_header(want.record)
            fetched.fetched_bytes = len(header.data)
            # What a hub announces counts for more than what a server says.
            if listed.sha256 is None and header.sha256 is not None:
                was_read = self._is_known(header.sha256)
                if self._is_here(header.sha256, fetched, was_read=was_read):
                    return
            fetched.judgement = self._judge.judge(want, io.BytesIO(header.data), header.size)
        if not fetched.refusal:
            file = self._source.download(want.record, self._folder)
            fetched.size = file.path.stat().st_size
            fetched.fetched_bytes += fetched.size
            self._put(want, file, fetched)

    def _is_here(self, sha256: str | None, fetched: Fetched, *, was_read: bool) -> bool:
        """Whether a file need not be fetched; if so, note which it is."""
        if sha256 is None:
            return False
        size = self._blobs.share(sha256)
        if size is not None:
            fetched.sha256, fetched.size = sha256, size
        elif was_read:
            fetched.sha256, fetched.is_kept = sha256, False
        return fetched.sha256 is not None

    def _put(self, want: PendingFetch, file: HashedFile, fetched: Fetched) -> None:
        """Store a file that came, leave it where it is to be read, or remove it unwanted."""
        judgement = fetched.judgement or Judgement()
        if fetched.judgement is None and self._judge.asks_for_some:
            with file.path.open("rb") as stream:
                judgement = self._judge.judge(want, stream, fetched.size)
        if judgement.refusal:
            fetched.judgement = judgement
            self.remove(file.path)
        elif self._judge.keeps(judgement.base_model):
            announced = want.record.file.sha256
            fetched.sha256 = self._blobs.put_file(file, expected=announced, move=True)
            self.remove(file.path)
        else:
            fetched.sha256, fetched.is_kept, fetched.path = file.sha256(), False, file.path


def _results(done: Collection[Future[list[Fetched]]]) -> Iterator[list[Fetched]]:
    """Yield what came, once; then raise what kept the rest from coming."""
    errors = [error for future in done if (error := future.exception()) is not None]
    came = [fetched for future in done if future.exception() is None for fetched in future.result()]
    if came:
        yield sorted(came, key=lambda fetched: fetched.adapter_id)
    for error in errors:
        raise error


def _is_long(file: FileRecord) -> bool:
    return file.size is None or file.size > SHORT_BYTES


def _fetch_covers(
    source: Source, covers: Sequence[CoverRecord], blobs: BlobStore, fetched: Fetched
) -> None:
    """Store those covers that are images; the others are problems, but no hindrance."""
    done = True
    for position, cover in enumerate(covers):
        try:
            read = read_cover(source.fetch_cover(cover))
        except (CoverError, SourceError) as error:
            fetched.problems.append(f"cover {position}: {reported(error)}")
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
