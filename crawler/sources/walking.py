"""How hubs are walked: newest changes are listed first, and records wanted oldest change first."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from statistics import median_low
from typing import TypeVar

from crawler.errors import NoAdapterError, SourceError
from crawler.records import AdapterRecord, Refusal

# One repository may be broken at the hub. So many in a row mean that the hub is.
FAILURES_IN_A_ROW = 3
# So many pages in a row without anything new: the hub repeats itself, and would for ever.
REPEATED_PAGES = 20


@dataclass(frozen=True, slots=True)
class ListedItem:
    """What a listing is needed for: whom to ask, and the cursor.

    Of what is not `wanted` only the time counts, by which the walk knows where it is.
    """

    repo: str
    updated_at: datetime
    wanted: bool = True


L = TypeVar("L", bound=ListedItem)


class Seen:
    """What was listed so far: each state of a repository is read once.

    Many may have changed in the same second, across pages, and what is published meanwhile pushes
    others onto the next page; so some come again, but never for long.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        # Hashes, since a hub has many. A collision would cost one change, until the one after it.
        self._hashes: set[int] = set()
        self._pages_without_new = 0

    def new_of(self, page: Iterable[L]) -> list[L]:
        """Return those that were not listed yet.

        Raises:
            SourceError: for many pages there was none.
        """
        new = {hash((item.repo, item.updated_at)): item for item in page}
        new = {key: item for key, item in new.items() if key not in self._hashes}
        self._hashes |= new.keys()
        self._pages_without_new = 0 if new else self._pages_without_new + 1
        if self._pages_without_new == REPEATED_PAGES:
            raise SourceError(
                f"{self._title} lists nothing new on {REPEATED_PAGES} pages in a row: it repeats "
                "itself. Run again later."
            )
        return [*new.values()]


def check_kind(title: str, loras: int, listed: int) -> None:
    """Raise SourceError where a page of LoRAs is mostly of something else."""
    if 2 * loras < listed:
        raise SourceError(
            f"{title} was asked for LoRAs, and {listed - loras} of {listed} on a page are none: it "
            "ignores the filter, and would list all it has."
        )


def changed_since(
    title: str, pages: Iterable[Sequence[ListedItem]], since: datetime | None
) -> dict[str, datetime]:
    """Return what is wanted and changed at or after `since`, from pages newest change first.

    Walks until a whole page is older. What changes meanwhile moves to the front, where the walk
    has been; its newer state is read all the same, and the next crawl lists it again.

    Raises:
        SourceError: the pages are in another order, or go round.
    """
    found: dict[str, datetime] = {}
    seen = Seen(title)
    for page in pages:
        if since is not None and not _is_newest_first(page):
            raise SourceError(
                f"{title} no longer lists the newest change first, so a crawl cannot go on from "
                "its cursor. Crawl everything instead, with --full."
            )
        seen.new_of(page)
        for item in page:
            if item.wanted and (since is None or item.updated_at >= since):
                found[item.repo] = max(item.updated_at, found.get(item.repo, item.updated_at))
        if since is not None and page and all(item.updated_at < since for item in page):
            break
    return found


def _is_newest_first(page: Sequence[ListedItem]) -> bool:
    """Whether the first half of a page is newer than the last, by the middle item of each.

    Single items are out of place where a hub sorts by a time that it does not tell.
    """
    times = [item.updated_at for item in page]
    half = len(times) // 2
    return half == 0 or median_low(times[:half]) >= median_low(times[-half:])


def oldest_first(found: dict[str, datetime]) -> list[ListedItem]:
    """Return what was found in the order in which it changed."""
    items = (ListedItem(repo, updated_at) for repo, updated_at in found.items())
    return sorted(items, key=lambda item: (item.updated_at, item.repo))


def read_each(
    hub: str,
    items: Iterable[L | Refusal],
    read: Callable[[L], Iterable[AdapterRecord | Refusal]],
    wants: Callable[[AdapterRecord], bool],
) -> Iterator[AdapterRecord | Refusal]:
    """Yield the records of each item; what of it cannot be read is a `Refusal` and ends nothing.

    What failed for a moment is asked for once more when all others were: its records may follow.

    Raises:
        SourceError: the hub fails several times in a row.
    """
    failed: list[L] = []
    failures = 0
    for item in items:
        if isinstance(item, Refusal):
            yield item
            continue
        try:
            records = list(read(item))
        except SourceError as error:
            failures = failures + 1 if error.retryable else 0
            if failures == FAILURES_IN_A_ROW:
                raise
            if error.retryable:
                failed.append(item)
            again_from = item.updated_at if error.retryable else None
            is_empty = isinstance(error, NoAdapterError)
            yield Refusal(hub, item.repo, str(error), again_from, is_empty)
        else:
            failures = 0
            yield from _wanted(records, wants)
    for item in failed:
        # It was told of already.
        with suppress(SourceError):
            yield from _wanted(list(read(item)), wants)


def _wanted(
    found: Iterable[AdapterRecord | Refusal], wants: Callable[[AdapterRecord], bool]
) -> Iterator[AdapterRecord | Refusal]:
    return (one for one in found if isinstance(one, Refusal) or wants(one))
