"""From a hub's listing to adapters that can be found: list, fetch, read, caption, embed, publish.

Here are the steps that ask a hub, and how all follow each other; registry/refresh/indexing.py has
those that do not. Each step does what is missing and commits adapter by adapter (or batch by
batch), so it can be killed anywhere and run again.
"""

import shutil
import time
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from crawler.errors import SourceError
from crawler.records import AdapterRecord, Refusal, Source
from encoder.text_encoder import TextEncoder
from registry.blobs import BlobStore
from registry.config import Settings
from registry.db import adapters, pending, runs
from registry.db.adapters import Origin
from registry.db.session import one_line_errors, translated
from registry.refresh.fetching import Fetched, fetch_all, one_line
from registry.refresh.indexing import Indexer, Outcome

STEPS = ("crawl", "fetch", "read", "caption", "embed", "publish")

# Records stored, and downloads handed out, at once.
PAGE = 50
# So many adapters in a row for which a hub does not answer mean that the hub is down.
FAILURES_IN_A_ROW = 5
# A partial download that nobody went on with for a week.
STALE_SECONDS = 7 * 86_400
# Of a run's problems so many are kept in its report.
MOST_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a refresh is; `outcome` is None when a step begins.

    `total` is None where the hub does not tell it. It counts what was to do at the step's
    begin: adapters, files, captions.
    """

    step: str
    done: int
    total: int | None
    outcome: Outcome | None = None


@dataclass
class _Report:
    """What a run's row says: counts by step, the first problems, why it failed."""

    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    problems: list[dict[str, str]] = field(default_factory=list)
    error: str | None = None

    def add(self, step: str, outcome: Outcome) -> None:
        counts = self.counts.setdefault(step, {"ok": 0, "failed": 0})
        counts["ok" if outcome.ok else "failed"] += 1
        if not outcome.ok and len(self.problems) < MOST_PROBLEMS:
            problem = {"step": step, "adapter": outcome.adapter, "message": outcome.message}
            self.problems.append(problem)

    def to_json(self) -> dict[str, Any]:
        return {**self.counts, "problems": self.problems}


class Pipeline:
    """Built once, at an entry point. Its steps are generators: nothing is done unless iterated."""

    def __init__(
        self,
        sessions: sessionmaker[Session],
        blobs: BlobStore,
        settings: Settings,
        text_encoder: TextEncoder,
    ) -> None:
        self._sessions = sessions
        self._blobs = blobs
        self._downloads = settings.home / "downloads"
        self.indexer = Indexer(sessions, blobs, text_encoder, settings.encoder_checkpoint)

    # All steps

    def refresh(
        self, source: Source, *, full: bool = False, steps: Collection[str] = STEPS
    ) -> Generator[Progress]:
        """Run `steps` in their order, write a run report, yield after each outcome.

        `full` lists everything and marks what has vanished as gone; otherwise only what
        changed since the last run is listed. A hub that is down fails the run, but what is
        here already goes on through the other steps.

        Raises:
            DiskFullError, DatabaseLostError: nothing more can be stored; run it again later.
        """
        report = _Report()
        with one_line_errors():
            with self._sessions.begin() as session:
                run_id = runs.start_run(session, origin_of(source))
            try:
                self._clean()
                if "embed" in steps:
                    for outcome in self.indexer.register_configured():
                        report.add("embed", outcome)
                        yield Progress("embed", 0, None, outcome)
                for step in STEPS:
                    if step in steps:
                        yield from self._refresh_step(step, source, full, report)
            except BaseException as error:
                report.error = _cause(error)
                # The database may be what failed; then the next run closes this one.
                with suppress(Exception):
                    self._finish(run_id, report)
                raise
            self._finish(run_id, report)

    def _refresh_step(
        self, step: str, source: Source, full: bool, report: _Report
    ) -> Iterator[Progress]:
        total, done = self._remaining(step, source), 0
        yield Progress(step, done, total)
        for outcome in self._outcomes(step, source, full, report):
            done += 1
            report.add(step, outcome)
            yield Progress(step, done, total, outcome)

    def _outcomes(
        self, step: str, source: Source, full: bool, report: _Report
    ) -> Iterator[Outcome]:
        generators = {
            "crawl": lambda: self.crawl(source, full=full),
            "fetch": lambda: self.fetch(source),
            "read": self.indexer.read,
            "caption": self.indexer.caption,
            "embed": self.indexer.embed,
            "publish": self.indexer.publish,
        }
        try:
            yield from generators[step]()
        except SourceError as error:
            report.error = one_line(error)
            yield Outcome(source.hub, False, report.error)

    def _remaining(self, step: str, source: Source) -> int | None:
        """How much a step has to do now; None for what only the hub knows."""
        if step == "crawl":
            return None
        if step != "fetch":
            return self.indexer.remaining(step)
        with self._sessions() as session:
            return pending.count_to_fetch(session, origin_of(source))

    def _finish(self, run_id: int, report: _Report) -> None:
        with self._sessions.begin() as session:
            runs.finish_run(session, run_id, report.to_json(), report.error)

    def _clean(self) -> None:
        """Remove what killed runs left behind."""
        self._blobs.clean()
        for path in self._downloads.glob("*/"):
            if path.stat().st_mtime < time.time() - STALE_SECONDS:
                shutil.rmtree(path)

    # Step 1: what the hub lists -> rows

    def crawl(self, source: Source, *, full: bool = False) -> Iterator[Outcome]:
        """List what changed (or everything) and store it; one outcome an adapter.

        Raises:
            SourceError: the hub is down. What it listed before is stored, the cursor moved.
        """
        started, origin = datetime.now(UTC), origin_of(source)
        with self._sessions() as session:
            since = None if full else runs.find_cursor(session, origin)
        page: list[AdapterRecord] = []
        complete = since is None
        try:
            for listed in source.list_adapters(since):
                if isinstance(listed, Refusal):
                    # Without a repository it is the listing itself that has a gap.
                    complete &= bool(listed.repo)
                    yield self._store_refusal(origin, listed, started)
                    continue
                page.append(listed)
                if len(page) == PAGE:
                    yield from self._store_page(origin, page, started)
                    page = []
        finally:
            # Also when the hub fails in the middle, or the run is interrupted: they are good.
            stored = list(self._store_page(origin, page, started))
        yield from stored
        if complete:
            with self._sessions.begin() as session:
                gone = adapters.mark_gone(session, origin, seen_before=started)
            yield from (Outcome(label, message="gone from its hub") for label in gone)

    def _store_page(
        self, origin: Origin, page: Sequence[AdapterRecord], started: datetime
    ) -> Iterator[Outcome]:
        """Store records and move the cursor to the last of them, in one transaction."""
        if not page:
            return
        try:
            with self._sessions.begin() as session:
                adapters.store_listed(session, origin, page, started)
                # A date in the future would, as the cursor, hide all that is to come.
                runs.move_cursor(session, origin, min(page[-1].updated_at, started))
        except DBAPIError as error:
            name = adapters.label(page[0].repo, page[0].version)
            if translated(error) is not error:
                raise
            if len(page) == 1:
                cause = str(error.orig).splitlines()[0]
                yield Outcome(name, False, f"the database does not take it: {cause}")
                return
            # One of them is what PostgreSQL cannot hold; the others are stored without it.
            for record in page:
                yield from self._store_page(origin, [record], started)
            return
        yield from (Outcome(adapters.label(r.repo, r.version)) for r in page)

    def _store_refusal(self, origin: Origin, refusal: Refusal, started: datetime) -> Outcome:
        """What cannot be read today has not vanished."""
        if refusal.repo:
            with self._sessions.begin() as session:
                adapters.mark_seen(session, origin, refusal.repo, started)
        return Outcome(refusal.repo or refusal.hub, False, refusal.reason)

    # Step 2: files and covers -> blobs

    def fetch(self, source: Source) -> Iterator[Outcome]:
        """Download what listed adapters lack; one outcome an adapter, in order of arrival.

        Raises:
            SourceError: the hub does not answer any more.
            DiskFullError: there is no room for more.
        """
        failures = after = 0
        while True:
            with self._sessions() as session:
                page = pending.list_to_fetch(session, origin_of(source), after, PAGE)
            if not page:
                return
            for fetched in fetch_all(source, page, self._blobs, self._downloads):
                self._store_fetched(fetched)
                yield _fetch_outcome(fetched)
                failures = failures + 1 if fetched.hub_is_down else 0
                if failures == FAILURES_IN_A_ROW:
                    raise SourceError(
                        f"{source.hub} failed for {failures} adapters in a row; fetching stopped. "
                        "Run again later: it goes on where it stopped."
                    )
            after = page[-1].adapter_id

    def _store_fetched(self, fetched: Fetched) -> None:
        with self._sessions.begin() as session:
            if fetched.sha256 is not None:
                adapters.store_file(session, fetched.adapter_id, fetched.sha256, fetched.size)
            if fetched.covers or fetched.covers_done:
                adapters.store_covers(
                    session, fetched.adapter_id, fetched.covers, done=fetched.covers_done
                )


def origin_of(source: Source) -> Origin:
    return Origin(source.hub, source.endpoint)


def _cause(error: BaseException) -> str:
    """Why a run ended early, in one line."""
    if isinstance(error, DBAPIError):
        error = translated(error)
    return one_line(error) if isinstance(error, Exception) else "interrupted"


def _fetch_outcome(fetched: Fetched) -> Outcome:
    name = adapters.label(fetched.record.repo, fetched.record.version)
    return Outcome(name, not fetched.problems, "; ".join(fetched.problems))
