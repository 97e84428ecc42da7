"""Civitai: LoRAs of civitai.red (all of them), civitai.com (safe for work only) or a mirror.

The hub sorts by when a model's last version was published. What changes otherwise (texts, covers,
licences) does not surface there: `list_again` looks at what is known, bit by bit.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from crawler.disk import DiskLimits
from crawler.download import place
from crawler.errors import (
    AccessDeniedError,
    GoneError,
    NoAdapterError,
    SourceError,
    WithheldError,
)
from crawler.filters import EVERYTHING, Filters
from crawler.foreign_text import quoted
from crawler.hashed_file import HashedFile
from crawler.http import MAX_RETRY_AFTER_SECONDS
from crawler.hub_json import as_count, as_dict, as_list
from crawler.hub_text import clean_words
from crawler.manners import DEFAULT_MANNERS, Manners
from crawler.records import AdapterRecord, Refusal, Remembered, RemoteHeader
from crawler.sources.civarchive import CivArchive
from crawler.sources.civitai_detail import (
    HUB,
    TYPES,
    ListedModel,
    base_model_words,
    changed_at,
    has_no_adapter,
    is_lora,
    is_mature,
    read_listed,
    read_model_id,
    read_version,
    tells_prompts,
    versions_of,
    why_for_use_there,
    why_incomplete,
    why_withdrawn,
)
from crawler.sources.hub_client import HubClient, HubNames
from crawler.sources.hub_fields import read_id
from crawler.sources.hub_source import HubSource
from crawler.sources.walking import (
    ListedItem,
    changed_since,
    check_kind,
    oldest_first,
    read_each,
)

# One is safe for work only, the other has everything; keys are shared.
SITES = ("civitai.com", "civitai.red")
NAMES = HubNames("Civitai", "CIVITAI")
PAGE_SIZE = 100
# How long a model may wait to be rated, and is found all the same without a full listing.
RATED_WITHIN = timedelta(days=2)
# Models asked for in one question, whose answer has bounds.
BATCH = 25
# Versions of a model, newest first, whose prompts are asked for: a request each.
MAX_DETAILS = 4
_MAX_PAGES = 100_000
_MOST_REFUSED = 100
# When the last version of the model that a cursor names was published, and its number.
_CURSOR = re.compile(r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(\.\d{1,3})?\|(\d{1,18})")
T = TypeVar("T")
# The hub's names of base models that it was seen to filter by; it refuses others.
BASES = (
    "Flux.1 D", "Flux.1 S", "Illustrious", "Pony", "Qwen", "SD 1.5", "SDXL 1.0", "ZImageBase",
    "ZImageTurbo",
)  # fmt: skip


class CivitaiSource(HubSource):
    """Lists the LoRAs of one endpoint, and with a token fetches them."""

    hub, sites = HUB, SITES

    def __init__(
        self,
        endpoint: str = "https://civitai.red",
        token: str | None = None,
        *,
        page_size: int = PAGE_SIZE,
        name: str | None = None,
        limits: DiskLimits | None = None,
        filters: Filters = EVERYTHING,
        manners: Manners = DEFAULT_MANNERS,
        archive: str | None = None,
    ) -> None:
        """`archive` is a CivArchive's address, which is asked for files that are lost here."""
        client = HubClient(
            NAMES,
            endpoint,
            {"Authorization": f"Bearer {token}"} if token else {},
            manners,
        )
        super().__init__(client, name, limits, filters)
        self._page_size = page_size
        self._archive = CivArchive(archive) if archive else None

    def close(self) -> None:
        super().close()
        if self._archive is not None:
            self._archive.close()

    def list_adapters(
        self,
        updated_since: datetime | None = None,
        remembered: Mapping[str, Remembered] | None = None,
    ) -> Iterator[AdapterRecord | Refusal]:
        """Yield what changed at or after `updated_since`, oldest change first.

        Before that comes what was published a little earlier and is not `remembered`, where that is
        told: the hub lists a model when it has rated its pictures, among those of its time. A model
        that cannot be read is yielded as a `Refusal` and ends nothing.

        Raises:
            SourceError: the hub is down, or answers in a way that we do not know.
        """
        known, seam = remembered or {}, updated_since
        if updated_since is not None and remembered is not None:
            seam = updated_since - RATED_WITHIN
        since, refused = self._filters.since(seam), list[Refusal]()
        found = self._find(since, refused)
        yield from refused
        items = self._with_facts(
            [
                item
                for item in oldest_first(found)
                if not _is_known(item, updated_since, known.get(item.repo))
            ]
        )
        yield from read_each(HUB, items, self._read_model, self.wants)

    def list_again(self, repos: Sequence[str]) -> Iterator[AdapterRecord | Refusal]:
        """Yield what the hub says by now of models that it listed before.

        Raises:
            SourceError: the hub is down.
        """
        now = datetime.now(UTC)
        items = self._with_facts([ListedItem(repo, now) for repo in repos], again=True)
        yield from read_each(HUB, items, self._read_model, self.wants)

    def file_address(self, record: AdapterRecord) -> str:
        file = f"?fileId={quote(record.file.revision, safe='')}" if record.file.revision else ""
        return f"api/download/models/{quote(record.version, safe='')}{file}"

    def read_header(self, record: AdapterRecord) -> RemoteHeader:
        """Return the start of the record's file, from a mirror where it is lost here."""
        try:
            return super().read_header(record)
        except GoneError as gone:
            return self._ask_archive(record, gone, lambda archive: archive.read_header(record))
        except AccessDeniedError as denied:
            raise self._explained(record, denied) from denied

    def download(self, record: AdapterRecord, target: Path) -> HashedFile:
        """Fetch the record's file as any hub's source does, from a mirror where it is lost."""
        try:
            return super().download(record, target)
        except GoneError as gone:
            path = place(record, target)
            return self._ask_archive(
                record, gone, lambda archive: archive.download(record, path, self._limits)
            )
        except AccessDeniedError as denied:
            raise self._explained(record, denied) from denied

    def _explained(self, record: AdapterRecord, denied: AccessDeniedError) -> AccessDeniedError:
        """Return what keeps a file from us: it may be given to nobody, whatever the token."""
        if not self._client.has_token:
            return denied
        try:
            told = self._ask(f"model-versions/{quote(record.version, safe='')}")
        except SourceError:
            return denied
        reason = why_for_use_there(told)
        return WithheldError(reason) if reason else denied

    def _ask_archive(
        self, record: AdapterRecord, gone: GoneError, ask: Callable[[CivArchive], T]
    ) -> T:
        # What its author has archived is not for others to give.
        if self._archive is None or record.file.sha256 is None or gone.withdrawn:
            raise gone
        try:
            return ask(self._archive)
        except SourceError as error:
            raise GoneError(f"{gone} {error}") from error

    def _ask(self, path: str) -> dict[str, Any]:
        answer = self._client.ask_json("GET", f"api/v1/{path}")
        # Some errors come with HTTP 200.
        if not isinstance(answer, dict) or "error" in answer:
            raise SourceError(
                f"Civitai answered {path.split('?')[0]} with {quoted(str(answer), 200)}"
            )
        return answer

    def _find(self, since: datetime | None, refused: list[Refusal]) -> dict[str, datetime]:
        """Return what may be wanted and changed at or after `since`, with its times.

        With `nsfw` the hub lists models of all levels, without those that are flagged as showing
        minors or bear tags that it bans beside such levels; without it, all that is rated PG.
        """
        # Asked for a base it shows no versions for others, and sorts by them all the same.
        bases = self._filters.bases_among(BASES) if since is None else []
        found: dict[str, datetime] = {}
        for nsfw in ("true",) if self._filters.mature else ("true", "false"):
            question = [("nsfw", nsfw), *(("baseModels", base) for base in bases)]
            found |= changed_since(NAMES.title, self._pages(question, refused), since)
        return found

    def _pages(
        self, wanted: Sequence[tuple[str, str]], refused: list[Refusal]
    ) -> Iterator[list[ListedItem]]:
        """Yield pages as the hub's cursor leads; the address that it gives may be another host."""
        question = [
            ("limit", str(self._page_size)),
            *(("types", kind) for kind in TYPES),
            ("sort", "Newest"),
            ("period", "AllTime"),
            *wanted,
        ]
        if len(self._filters.tags) == 1:
            question += [("tag", tag.lower()) for tag in self._filters.tags]
        cursor: list[tuple[str, str]] = []
        before = datetime.now(UTC)
        for _ in range(_MAX_PAGES):
            answer = self._ask(f"models?{urlencode(question + cursor)}")
            page = [*self._read_page(answer, before, refused)]
            yield page
            before = page[-1].updated_at if page else before
            following = as_dict(answer.get("metadata")).get("nextCursor")
            if not isinstance(following, str | int) or not following:
                return
            cursor = [("cursor", beginning_with(str(following)))]
        raise SourceError(f"Civitai lists more than {_MAX_PAGES} pages, more than it has")

    def _read_page(
        self, answer: Mapping[str, Any], before: datetime, refused: list[Refusal]
    ) -> Iterator[ListedItem]:
        items = answer.get("items")
        if not isinstance(items, list):
            raise SourceError("Civitai answered a listing without items: has it changed?")
        loras = [item for item in items if is_lora(item)]
        check_kind(NAMES.title, len(loras), len(items))
        for item in loras:
            try:
                listed = read_listed(item, before)
            except SourceError as error:
                if len(refused) < _MOST_REFUSED:
                    refused.append(Refusal(HUB, "", str(error)))
                continue
            before = listed.updated_at
            yield ListedItem(listed.repo, listed.updated_at, self._may_want(item))

    def _may_want(self, item: Mapping[str, Any]) -> bool:
        """Tell by the listing what need not be asked for. Some are listed before they are whole."""
        words, downloads = base_model_words(item), as_dict(item.get("stats")).get("downloadCount")
        levels = [is_mature(item, version) for version in versions_of(item)]
        return (
            (downloads is None or as_count(downloads) >= self._filters.min_downloads)
            and (not words or any(map(self._filters.wants_base, words)))
            and (not levels or any(map(self._filters.wants_maturity, levels)))
            and self._filters.wants_tags(clean_words(as_list(item.get("tags"))))
        )

    def _with_facts(
        self, items: Sequence[ListedItem], *, again: bool = False
    ) -> Iterator[ListedModel]:
        """Yield items with what the hub says of them, many to a question where it answers that."""
        for start in range(0, len(items), BATCH):
            batch = items[start : start + BATCH]
            facts = self._ask_many([item.repo for item in batch])
            for item in batch:
                yield ListedModel(
                    item.repo, item.updated_at, facts=facts.get(item.repo), again=again
                )

    def _ask_many(self, repos: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return what the hub answers about several models: not always all, or any, of them."""
        try:
            answer = self._ask(f"models?{urlencode({'ids': ','.join(repos), 'nsfw': 'true'})}")
        except SourceError as error:
            if (error.retry_after_seconds or 0.0) > MAX_RETRY_AFTER_SECONDS:
                raise
            # They are asked for one by one, and that tells what is wrong.
            return {}
        items = [item for item in as_list(answer.get("items")) if isinstance(item, dict)]
        return {str(item.get("id")): item for item in items}

    def _read_model(self, listed: ListedModel) -> Iterator[AdapterRecord | Refusal]:
        facts = listed.facts
        if facts is None or not versions_of(facts):
            facts = self._ask(f"models/{quote(listed.repo, safe='')}")
        if read_model_id(facts) != listed.repo:
            raise SourceError(f"Civitai answered about another model than {listed.repo}")
        if listed.again:
            listed = ListedModel(listed.repo, changed_at(facts) or listed.updated_at)
        records = [
            record
            for place, version in enumerate(versions_of(facts))
            for record in self._read_version(facts, version, listed, place)
        ]
        if not records:
            if withdrawn := why_withdrawn(facts):
                raise SourceError(withdrawn)
            kind = NoAdapterError if has_no_adapter(facts) else SourceError
            raise kind("none of its versions lists a safetensors file")
        yield from records
        if incomplete := why_incomplete(facts):
            yield Refusal(HUB, listed.repo, incomplete)

    def _read_version(
        self, facts: Mapping[str, Any], version: Mapping[str, Any], listed: ListedItem, place: int
    ) -> list[AdapterRecord]:
        def read(told: Mapping[str, Any]) -> list[AdapterRecord]:
            return read_version(
                facts,
                told,
                listed,
                self._client.endpoint,
                now=datetime.now(UTC),
                has_token=self._client.has_token,
            )

        records, number = read(version), read_id(version.get("id"))
        if not records or not number.isdigit():
            return []
        if place < MAX_DETAILS and tells_prompts(version) and any(map(self.wants, records)):
            # Only the answer about a version alone has prompts of its images.
            try:
                told = self._ask(f"model-versions/{number}")
            except GoneError:
                # As for one that is listed and not rated yet.
                return records
            if read_id(told.get("id")) != number:
                raise SourceError(f"Civitai answered about another version than {number}")
            images = as_list(told.get("images")) or version.get("images")
            return read({**told, **version, "images": images})
        return records


def _is_known(item: ListedItem, since: datetime | None, kept: Remembered | None) -> bool:
    """Whether something from before the cursor was listed already, as it is."""
    if since is None or item.updated_at >= since or kept is None or kept.updated_at is None:
        return False
    return item.updated_at <= kept.updated_at


def beginning_with(cursor: str) -> str:
    """Return the cursor of a page that begins with the model that the hub's own cursor names.

    The hub takes that model off the end of a page, and goes on after it [1]: it would never be
    listed. It also reads ".5" as 5 milliseconds. A hub without this fault lists one model twice.

    - [1] https://github.com/civitai/civitai/issues/1372
    """
    match = _CURSOR.fullmatch(cursor)
    if not match:
        return cursor
    time, fraction, number = match.groups(default="")
    return f"{time}{fraction and fraction.ljust(4, '0')}|{int(number) + 1}"
