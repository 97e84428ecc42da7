"""What listed adapters lack -> files and covers in the blob store."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from registry.db import adapters, pending
from registry.db.arrivals import Arrival, store_arrivals
from registry.db.pending import PendingFile
from registry.refresh.bases import find_bases
from registry.refresh.fetching import Fetched, Fetcher
from registry.refresh.judging import HeaderJudge
from registry.refresh.losses import want_lost
from registry.refresh.reading import reader_version
from registry.refresh.step import RefreshContext, SharedStep, StepOutcome
from registry.refresh.steps.read import read_files


class FetchStep(SharedStep):
    """Downloads what listed adapters lack; one outcome an adapter, in order of arrival."""

    name = "fetch"
    title = "Downloading"
    asks_hub = True
    queue = "fetch"
    # At the end of a page downloads wait for the slowest of them: of pages of 50 small adapters, a
    # third of the time.
    page = 200
    job = 1

    def __init__(self, context: RefreshContext) -> None:
        super().__init__(context)
        self._judge = HeaderJudge(context.settings)
        self._fetcher = Fetcher(
            context.source,
            context.blobs,
            context.downloads,
            self._judge,
            self._is_known,
            threads=context.settings.manners(context.source.hub).downloads,
        )

    def prepare(self) -> Iterator[StepOutcome]:
        judge = self._judge
        with self.context.sessions.begin() as session:
            adapters.forget_judgements(session, self.context.origin, judge.names)
            if judge.keeps_all:
                adapters.want_back(session, None)
            elif judge.keeps_some:
                adapters.want_back(session, judge.fusing)
        if self.context.full:
            yield from want_lost(self.context)

    def remaining(self) -> int:
        with self.context.sessions() as session:
            return pending.count_to_fetch(session, self.context.origin)

    def list_keys(self, size: int) -> Iterator[list[str]]:
        after = 0
        while True:
            with self.context.sessions() as session:
                rows = pending.keys_to_fetch(session, self.context.origin, after, self.page)
            if not rows:
                return
            yield from part_by_file(rows, size)
            after, _ = rows[-1]

    def do(self, keys: Sequence[str]) -> Iterator[StepOutcome]:
        context = self.context
        with context.sessions() as session:
            wanted = pending.list_to_fetch(session, context.origin, [int(key) for key in keys])
        rests: list[str] = []
        for came in self._fetcher.fetch_all(wanted, rests):
            with context.sessions.begin() as session:
                store_arrivals(session, [_arrival(fetched) for fetched in came])
            for fetched in came:
                # Of several listings of a file the first has it read and removed.
                if fetched.path is not None and fetched.path.exists():
                    self._read(fetched, fetched.path)
                yield _outcome(fetched)
        # It came back each time.
        yield from (StepOutcome(context.source.hub, False, rest) for rest in rests)

    def _read(self, fetched: Fetched, path: Path) -> None:
        """Read a file that is not kept, and remove it."""
        assert fetched.sha256 is not None
        file = PendingFile(fetched.sha256, fetched.record.repo, fetched.size)
        context = self.context
        bases = find_bases(context.sessions, context.blobs)
        [outcome] = read_files(context.sessions, lambda _: path, [file], reader_version(), bases)
        if not outcome.ok:
            fetched.problems.append(outcome.message)
        self._fetcher.remove(path)

    def _is_known(self, sha256: str) -> bool:
        with self.context.sessions() as session:
            return adapters.is_read_and_dropped(session, sha256)


def part_by_file(rows: Iterable[tuple[int, str | None]], size: int) -> Iterator[list[str]]:
    """Part adapters into lists of `size`, or more where they have one file: it is fetched once."""
    by_file: dict[str, list[str]] = defaultdict(list)
    for adapter_id, sha256 in rows:
        by_file[sha256 or f"adapter {adapter_id}"].append(str(adapter_id))
    part: list[str] = []
    for ids in by_file.values():
        part += ids
        if len(part) >= size:
            yield part
            part = []
    if part:
        yield part


def _arrival(fetched: Fetched) -> Arrival:
    return Arrival(
        fetched.adapter_id,
        fetched.sha256,
        fetched.size,
        fetched.is_kept,
        fetched.covers,
        fetched.covers_done,
        refusal=fetched.refusal,
        refused_by=fetched.judgement.by if fetched.judgement else "",
        withheld=fetched.withheld,
    )


def _outcome(fetched: Fetched) -> StepOutcome:
    name = adapters.label(fetched.record.repo, fetched.record.version)
    if fetched.refusal:
        return StepOutcome(name, False, f"refused: {fetched.refusal}", fetched.fetched_bytes)
    return StepOutcome(
        name, not fetched.problems, "; ".join(fetched.problems), fetched.fetched_bytes
    )
