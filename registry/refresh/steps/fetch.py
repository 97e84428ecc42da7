"""Step 2: what listed adapters lack -> files and covers in the blob store."""

from collections.abc import Iterator, Sequence

from crawler.errors import SourceError
from registry.db import adapters, pending
from registry.db.arrivals import Arrival, store_arrivals
from registry.refresh.fetching import Fetched, fetch_all
from registry.refresh.step import Step, StepOutcome

# Downloads handed out at once.
PAGE = 50
# A hub that does not answer for this many adapters in a row is down.
FAILURES_IN_A_ROW = 5


class FetchStep(Step):
    """Downloads what listed adapters lack; one outcome an adapter, in order of arrival."""

    name = "fetch"
    title = "Downloading"
    asks_hub = True

    def remaining(self) -> int:
        with self.context.sessions() as session:
            return pending.count_to_fetch(session, self.context.origin)

    def run(self) -> Iterator[StepOutcome]:
        context = self.context
        failures = after = 0
        while True:
            with context.sessions() as session:
                page = pending.list_to_fetch(session, context.origin, after, PAGE)
            if not page:
                return
            for came in fetch_all(context.source, page, context.blobs, context.downloads):
                self._store(came)
                for fetched in came:
                    yield _outcome(fetched)
                    failures = failures + 1 if fetched.hub_is_down else 0
                    if failures == FAILURES_IN_A_ROW:
                        raise SourceError(
                            f"{context.source.hub} failed for {failures} adapters in a row; "
                            "fetching stopped. Run again later: it goes on where it stopped."
                        )
            after = page[-1].adapter_id

    def _store(self, came: Sequence[Fetched]) -> None:
        with self.context.sessions.begin() as session:
            store_arrivals(session, [_arrival(fetched) for fetched in came])


def _arrival(fetched: Fetched) -> Arrival:
    return Arrival(
        fetched.adapter_id, fetched.sha256, fetched.size, fetched.covers, fetched.covers_done
    )


def _outcome(fetched: Fetched) -> StepOutcome:
    name = adapters.label(fetched.record.repo, fetched.record.version)
    return StepOutcome(name, not fetched.problems, "; ".join(fetched.problems))
