"""ModelScope: LoRAs of modelscope.cn, modelscope.ai or whatever speaks their protocol."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from crawler.disk import DiskLimits
from crawler.errors import DownloadError, NoAdapterError, SourceError
from crawler.filters import EVERYTHING, Filters
from crawler.manners import DEFAULT_MANNERS, Manners
from crawler.peft_config import PEFT_STEM, find_configs
from crawler.records import AdapterRecord, Refusal, Remembered
from crawler.sources.hub_source import HubSource
from crawler.sources.modelscope_client import ModelScopeClient, file_address
from crawler.sources.modelscope_detail import (
    HUB,
    ListedRepo,
    base_model_words,
    is_lora,
    is_weights,
    listed_files,
    named_files,
    read_detail,
    read_files,
    read_listed,
)
from crawler.sources.walking import Seen, check_kind, read_each

# The site in China and the one for elsewhere: https://modelscope.cn, https://modelscope.ai.
SITES = ("modelscope.cn", "modelscope.ai")
# The site refuses pages larger than 100; its own pages ask for 30.
PAGE_SIZE = 50
# Pages that are pushed back while one page is read, and pages at all. It had 91,000 LoRAs in 2026.
_MAX_PUSHED_PAGES = 100
_MAX_PAGES = 1_000_000
# What PEFT's configs of one repository may have together: checkpoints have some KB each.
MAX_CONFIGS_CHARACTERS = 4_000_000
_LORAS = {"category": "aigc_type", "predicate": "contains", "values": ["LoRA"], "sub_values": []}


class ModelScopeSource(HubSource):
    """Lists and fetches the LoRAs of one ModelScope endpoint."""

    hub, sites = HUB, SITES
    _client: ModelScopeClient

    def __init__(
        self,
        endpoint: str = "https://modelscope.cn",
        token: str | None = None,
        *,
        page_size: int = PAGE_SIZE,
        name: str | None = None,
        limits: DiskLimits | None = None,
        filters: Filters = EVERYTHING,
        manners: Manners = DEFAULT_MANNERS,
    ) -> None:
        super().__init__(ModelScopeClient(endpoint, token, manners), name, limits, filters)
        self._page_size = page_size

    def list_adapters(
        self,
        updated_since: datetime | None = None,
        remembered: Mapping[str, Remembered] | None = None,
    ) -> Iterator[AdapterRecord | Refusal]:
        """Yield what changed at or after `updated_since`, oldest change first.

        The hub tells what changed, so what is `remembered` is not looked at.

        A repository that cannot be read is yielded as a `Refusal` and ends nothing.

        Raises:
            SourceError: the hub is down, or answers in a way that we do not know.
        """
        listed = self._list_changed(self._filters.since(updated_since))
        yield from read_each(HUB, listed, self._read_repo, self.wants)

    def file_address(self, record: AdapterRecord) -> str:
        if record.file.sha256 is None:
            raise DownloadError(f"{record.repo}/{record.file.name} has no sha256; not downloaded")
        return file_address(record.repo, record.file.name, record.file.revision)

    def _read_repo(self, listed: ListedRepo) -> list[AdapterRecord]:
        if not self._may_want(listed.facts or {}):
            return []
        # The hub has been seen to say all in the listing. Then it need not be asked again.
        detail = listed.detail or self._client.ask("GET", f"models/{listed.repo}")
        files = listed_files(detail)
        names = [item.get("name") for item in named_files(detail)]
        # A detail names weights; their config is told by the list of all files alone.
        if not files or any(PurePosixPath(file.name).stem == PEFT_STEM for file in files):
            found = self._client.list_files(listed.repo)
            files = files or read_files(found, "Path", "Size", "Sha256")
            names += [item.get("Path") for item in found]
        if not files and names and not any(is_weights(name) for name in names):
            raise NoAdapterError("the repository has no safetensors file of an adapter")
        records = list(read_detail(detail, listed, files, self._client.endpoint))
        return self._with_configs(records, find_configs({n for n in names if isinstance(n, str)}))

    def _with_configs(
        self, records: Sequence[AdapterRecord], configs: Mapping[str, str]
    ) -> list[AdapterRecord]:
        """Return records with what PEFT's configs, by files' names, say of their strength."""
        texts: dict[str, str] = {}
        described = []
        for record in records:
            name = configs.get(record.file.name)
            if name is None or not self.wants(record):
                described.append(record)
                continue
            if name not in texts:
                texts[name] = self._client.fetch_config(record.repo, name)
            if sum(map(len, texts.values())) > MAX_CONFIGS_CHARACTERS:
                raise SourceError("its configs of PEFT are larger than 4 MB together")
            described.append(replace(record, file=replace(record.file, peft_config=texts[name])))
        return described

    def _may_want(self, item: Mapping[str, Any]) -> bool:
        """Tell by the listing, where it says enough, what need not be asked for.

        The hub is not asked to filter by base model: it knows each by many names, and what it
        calls otherwise would be missed.
        """
        words, downloads = base_model_words(item, {}), item.get("Downloads")
        enough = not isinstance(downloads, int) or downloads >= self._filters.min_downloads
        return enough and (not words or self._filters.wants_base(words))

    def _list_changed(self, since: datetime | None) -> Iterator[ListedRepo | Refusal]:
        """Yield listed repositories, oldest change first.

        The hub lists the newest change first, so we walk from the last page of interest to
        the first. What changes meanwhile moves to the front, where we have not been, but it
        pushes others onto pages that are done: `_pushed_back` looks there again.
        """
        last, total = self._last_page(since)
        if last < total and not (after := self._far_page(last + 1)).items:
            hidden = f"the hub counts {total} pages and shows none after page {last}"
            why = "".join(f" ({refusal.reason})" for refusal in after.refused[:1])
            yield Refusal(HUB, "", hidden + why)
        cursor, seen = since, Seen("ModelScope")
        for number in range(last, 0, -1):
            page = self._page(number)
            yield from page.refused
            if since is not None:
                _check_order(page.items)
            # Not only what is newer than the cursor: should the hub's order be loose, nothing
            # of the page itself is left out.
            found = {repo.repo: repo for repo in page.items}
            found |= self._pushed_back(page, number, cursor)
            fresh = [
                repo
                for repo in sorted(seen.new_of(found.values()), key=lambda repo: repo.updated_at)
                if since is None or repo.updated_at >= since
            ]
            yield from fresh
            cursor = max([repo.updated_at for repo in fresh], default=cursor)

    def _pushed_back(
        self, page: "_Page", number: int, cursor: datetime | None
    ) -> dict[str, ListedRepo]:
        """Return what changed at or after `cursor` and is by now on pages after `number`."""
        found: dict[str, ListedRepo] = {}
        first = number
        while page.items and (cursor is None or page.items[-1].updated_at >= cursor):
            if number - first == _MAX_PUSHED_PAGES:
                raise SourceError("ModelScope's listing changes faster than it can be read")
            number += 1
            page = self._far_page(number)
            known = len(found)
            found |= {
                repo.repo: repo
                for repo in page.items
                if cursor is None or repo.updated_at >= cursor
            }
            # Nothing new: also where a hub answers its last page for any later one.
            if len(found) == known:
                break
        return found

    def _last_page(self, since: datetime | None) -> tuple[int, int]:
        """Find the last page with something changed since, by bisection, and count pages."""
        total = -(-self._page(1).total // self._page_size)
        if total > _MAX_PAGES:
            raise SourceError(f"ModelScope counts {total} pages, more than any hub has")
        low, high = 0, total
        while low < high:
            middle = (low + high + 1) // 2
            repos = self._far_page(middle).items
            if any(since is None or repo.updated_at >= since for repo in repos):
                low = middle
            else:
                high = middle - 1
        return low, total

    def _far_page(self, number: int) -> "_Page":
        """Return a page, without items where the hub refuses to go so far.

        Another route of it answers what is beyond 3,000 items with an error.
        """
        try:
            return self._page(number)
        except SourceError as error:
            if error.retryable:
                raise
            return _Page([], [Refusal(HUB, "", str(error))], 0)

    def _page(self, number: int) -> "_Page":
        question = {
            "PageSize": self._page_size,
            "PageNumber": number,
            "SortBy": "GmtModified",
            "Target": "",
            "Name": "",
            "SingleCriterion": [],
            "Criterion": [_LORAS],
        }
        data = self._client.ask("PUT", "dolphin/models", question)
        return _read_page(data.get("Model"))


@dataclass(frozen=True, slots=True)
class _Page:
    items: list[ListedRepo]
    refused: list[Refusal]
    total: int


def _read_page(found: Any) -> _Page:
    listed = found.get("Models") if isinstance(found, dict) else None
    total = found.get("TotalCount") if isinstance(found, dict) else None
    # A hub without any LoRA answers null for the list.
    if not isinstance(total, int) or not isinstance(listed or [], list):
        raise SourceError("ModelScope's listing has no Models or no TotalCount: has it changed?")
    page, listed = _Page([], [], total), listed or []
    loras = [item for item in listed if is_lora(item)]
    check_kind("ModelScope", len(loras), len(listed))
    for item in loras:
        try:
            page.items.append(read_listed(item))
        except SourceError as error:
            page.refused.append(Refusal(HUB, "", str(error)))
    return page


def _check_order(repos: list[ListedRepo]) -> None:
    """Without this a hub that sorts anew would make every later crawl silently incomplete."""
    if repos and repos[0].updated_at < repos[-1].updated_at:
        raise SourceError(
            "ModelScope no longer lists the newest change first, so a crawl cannot go on from "
            "its cursor. Crawl everything instead, without one."
        )
