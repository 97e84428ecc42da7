"""What the hub lists -> rows of adapters."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from crawler.records import (
    AdapterRecord,
    Listed,
    Moved,
    Refusal,
    Remembered,
    SweptSource,
    Unchanged,
)
from crawler.sources.folder import HUB
from registry.db import adapters, runs
from registry.db.nested_folders import take_over
from registry.db.session import translated
from registry.refresh.listing_ahead import ahead
from registry.refresh.step import RefreshContext, Step, StepOutcome

# Records stored in one transaction, and files that are only noted to be there.
PAGE, PAGE_UNCHANGED = 50, 1000
# How many of an origin's adapters may vanish at once and be believed: a hub that answers with an
# empty or a halved list has not lost them.
FEW_MISSING = 10
SHARE_MISSING = 0.2
# The cursor waits for what could not be read if it changed within this. So far behind it a source
# is told what is known.
HELD = timedelta(days=7)
# Of the repositories of a hub that hides changes, those looked at again in a refresh: each comes
# up about once in 30, and no refresh takes hours for it.
SHARE_AGAIN, FEWEST_AGAIN, MOST_AGAIN = 1 / 30, 20, 1000


class CrawlStep(Step):
    """Lists what changed (or everything) and stores it; one outcome an adapter."""

    name = "crawl"
    title = "Listing"
    asks_hub = True

    def __init__(self, context: RefreshContext) -> None:
        super().__init__(context)
        # A date in the future would, as the cursor, hide all that is to come.
        self._started = datetime.now(UTC)
        self._newest = datetime.min.replace(tzinfo=UTC)
        # By repository what could not be read for a moment, and of these what is not waited for.
        self._unread: dict[str, Refusal] = {}
        self._let_go: set[str] = set()

    def remaining(self) -> None:
        return None

    def run(self) -> Iterator[StepOutcome]:
        """When the hub fails in the middle, what it listed before is stored, the cursor moved."""
        if self.context.origin.hub == HUB:
            with self.context.sessions.begin() as session:
                take_over(session, Path(self.context.origin.endpoint))
        listing, complete = self._list()
        with self.context.sessions() as session:
            before = runs.find_cursor(session, self.context.origin)
        page: list[AdapterRecord | Moved] = []
        unchanged: list[str] = []
        try:
            for listed in ahead(listing, PAGE):
                if isinstance(listed, Refusal):
                    # Without a repository it is the listing itself that has a gap.
                    complete &= bool(listed.repo)
                    if listed.again_from is not None:
                        self._note_unread(listed, before)
                        self._mark_seen(listed)
                    else:
                        # Not seen, what was listed of it is retired like what is not listed.
                        yield self._store_refusal(listed, seen=not listed.is_empty)
                elif isinstance(listed, Unchanged):
                    unchanged.append(listed.file_name)
                else:
                    page.append(listed)
                if len(page) == PAGE:
                    yield from self._store_page(page)
                    page = []
                if len(unchanged) == PAGE_UNCHANGED:
                    self._store_unchanged(unchanged)
                    unchanged = []
        finally:
            # They are good also when the hub fails in the middle, or the run is interrupted.
            stored = list(self._store_page(page))
            self._store_unchanged(unchanged)
        yield from stored
        yield from (StepOutcome(one.repo, False, one.reason) for one in self._unread.values())
        if complete:
            yield from self._retire()
        elif isinstance(self.context.source, SweptSource):
            yield from self._look_again(self.context.source)

    def _note_unread(self, refusal: Refusal, before: datetime | None) -> None:
        """Note what could not be read for a moment; the next refresh lists it again, once.

        `before` is the cursor of this run: what it stopped at already is broken at the hub. What
        changed long ago comes with the next full listing, for the cursor would bring all since.
        """
        again = refusal.again_from
        self._unread[refusal.repo] = refusal
        if again is None or again <= datetime.now(UTC) - HELD or (before and again <= before):
            self._let_go.add(refusal.repo)

    def _cursor(self) -> datetime:
        """Return up to where all was read that this run listed."""
        held = [
            refusal.again_from
            for repo, refusal in self._unread.items()
            if refusal.again_from and repo not in self._let_go
        ]
        return min([self._newest, self._started, *held])

    def _list(self) -> tuple[Iterator[Listed], bool]:
        """Return what the source lists, and whether that is all it has."""
        source, origin = self.context.source, self.context.origin
        with self.context.sessions() as session:
            if not source.has_cursor:
                remembered = adapters.load_remembered(session, origin)
                if self.context.full:
                    remembered = _without_stamps(remembered)
                return source.list_adapters(remembered=remembered), True
            since = None if self.context.full else runs.find_cursor(session, origin)
            if since is None:
                return source.list_adapters(), True
            remembered = adapters.load_lately_listed(session, origin, since - HELD)
        return source.list_adapters(since, remembered), False

    def _look_again(self, source: SweptSource) -> Iterator[StepOutcome]:
        """Store what became of repositories that were not listed for longest."""
        origin, run_id = self.context.origin, self.context.run_id
        with self.context.sessions() as session:
            present = adapters.count_present(session, origin)
            limit = min(max(round(present * SHARE_AGAIN), FEWEST_AGAIN), MOST_AGAIN)
            repos = adapters.list_longest_unseen(session, origin, run_id, limit)
        for listed in source.list_again(repos):
            if isinstance(listed, Refusal):
                yield self._store_refusal(listed)
            elif isinstance(listed, AdapterRecord):
                # Says nothing of what changed since when: the cursor stays.
                yield from self._store_page([listed], moves_cursor=False)

    def _retire(self) -> Iterator[StepOutcome]:
        """Mark as gone what a complete listing lacks, within bounds."""
        source, origin, run_id = self.context.source, self.context.origin, self.context.run_id
        with self.context.sessions.begin() as session:
            before = runs.find_last_complete(session, origin)
            runs.mark_complete(session, run_id)
            present = adapters.count_present(session, origin)
            # A hub that lists nothing at all is broken rather than empty, however little it had.
            few = FEW_MISSING
            if source.has_cursor and adapters.count_missing(session, origin, run_id) == present:
                few = 0
            adapters.spare_unwanted(session, origin, run_id, source.would_list)
            missing = adapters.count_missing(session, origin, run_id)
            believed = missing <= max(few, SHARE_MISSING * present) or self.context.force
            # What the complete listing before lacked as well has been missed twice.
            gone = adapters.mark_gone(session, origin, run_id if believed else before or 0)
            if gone and self.context.full:
                # Whatever was retired wrongly comes back with the next refresh, full or not: that
                # one lists everything because of this, and does not make another do so.
                runs.forget_cursor(session, origin)
        yield from (StepOutcome(label, message="gone from its hub") for label in gone)
        if len(gone) < missing:
            yield StepOutcome(
                origin.hub,
                False,
                f"{missing - len(gone)} of {present} adapters are not listed any more, too many "
                f"to be believed at once: they stay. {self._what_retires()}",
            )

    def _what_retires(self) -> str:
        if self.context.source.has_cursor:
            return (
                "A second full refresh that misses them too retires them, and `autolora refresh "
                "--full --force` does so now."
            )
        return (
            "See that all of the folder is there and mounted. A second refresh that misses them "
            "too retires them, and `autolora refresh --force` does so now."
        )

    def _store_page(
        self, page: Sequence[AdapterRecord | Moved], *, moves_cursor: bool = True
    ) -> Iterator[StepOutcome]:
        """Store records and move the cursor to the last of them, in one transaction."""
        if not page:
            return
        origin, records = self.context.origin, [_record(listed) for listed in page]
        for record in records:
            self._newest = max(self._newest, record.updated_at)
            self._unread.pop(record.repo, None)
        try:
            with self.context.sessions.begin() as session:
                for listed in page:
                    if isinstance(listed, Moved):
                        adapters.move(session, origin, listed.from_name, listed.record)
                adapters.store_listed(session, origin, records, self.context.run_id)
                if moves_cursor:
                    runs.move_cursor(session, origin, self._cursor())
        except DBAPIError as error:
            name = adapters.label(records[0].repo, records[0].version)
            if translated(error) is not error:
                raise
            if len(page) == 1:
                cause = str(error.orig).splitlines()[0]
                yield StepOutcome(name, False, f"the database does not take it: {cause}")
                return
            # One of them is what PostgreSQL cannot hold; the others are stored without it.
            for listed in page:
                yield from self._store_page([listed], moves_cursor=moves_cursor)
            return
        yield from (StepOutcome(adapters.label(r.repo, r.version)) for r in records)

    def _store_unchanged(self, file_names: Sequence[str]) -> None:
        if file_names:
            with self.context.sessions.begin() as session:
                adapters.mark_unchanged(
                    session, self.context.origin, file_names, self.context.run_id
                )

    def _mark_seen(self, refusal: Refusal) -> None:
        origin, run_id = self.context.origin, self.context.run_id
        with self.context.sessions.begin() as session:
            adapters.mark_seen(session, origin, refusal.repo, run_id, is_folder=refusal.is_folder)

    def _store_refusal(self, refusal: Refusal, *, seen: bool = True) -> StepOutcome:
        """What cannot be read today has not vanished."""
        if refusal.repo and seen:
            self._mark_seen(refusal)
        return StepOutcome(refusal.repo or refusal.hub, False, refusal.reason)


def _record(listed: AdapterRecord | Moved) -> AdapterRecord:
    return listed.record if isinstance(listed, Moved) else listed


def _without_stamps(remembered: Mapping[str, Remembered]) -> dict[str, Remembered]:
    """Forget by what files are known to be as they were: a full listing looks at all of them."""
    return {name: replace(kept, stamp=None) for name, kept in remembered.items()}
