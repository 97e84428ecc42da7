"""Hugging Face: LoRAs of huggingface.co or a mirror that speaks its protocol.

Its library, huggingface_hub, is not used to crawl: it has one session for the whole process
(diffusers' downloads too), reads answers of any size, takes its token along to whatever address a
listing's Link header names, and a single broken item ends its listings. Our questions are those
that it asks; tests/crawler/sources/test_hugging_face_protocol.py holds them against it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from crawler.disk import DiskLimits
from crawler.errors import AccessDeniedError, GoneError, NoAdapterError, SourceError
from crawler.filters import EVERYTHING, Filters
from crawler.foreign_text import quoted
from crawler.hub_json import as_dict
from crawler.manners import DEFAULT_MANNERS, Manners
from crawler.peft_config import MAX_CONFIG_BYTES
from crawler.records import AdapterRecord, Refusal, Remembered
from crawler.sources.hub_client import HubClient, HubNames
from crawler.sources.hub_source import HubSource
from crawler.sources.hugging_face_detail import (
    HUB,
    REVISION,
    config_beside,
    has_no_adapter,
    is_private,
    listed_files,
    read_detail,
    read_listed,
    tree_files,
)
from crawler.sources.walking import ListedItem, changed_since, oldest_first, read_each

# Licences that the hub has identifiers for [1], as far as images' models bear them.
# - [1] https://huggingface.co/docs/hub/repositories-licenses
_LICENCES = """
    apache-2.0 mit openrail creativeml-openrail-m openrail++ bigscience-openrail-m afl-3.0
    bsl-1.0 bsd bsd-2-clause bsd-3-clause cc cc0-1.0 cc-by-2.0 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0
    cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 agpl-3.0 gpl gpl-2.0 gpl-3.0
    lgpl lgpl-2.1 lgpl-3.0 isc mpl-2.0 unlicense wtfpl zlib unknown other
"""
LICENCES = frozenset(_LICENCES.split())
SITES = ("huggingface.co", "hf.co")
NAMES = HubNames("Hugging Face", "HUGGING_FACE")
# A LoRA has one of these tags or several; filters in one question must all hold, so each is asked
# for by itself.
LORA_TAGS = ("lora", "template:sd-lora", "template:diffusion-lora")
PAGE_SIZE = 500
_MAX_PAGES = 100_000
# Broken items of a listing that are told one by one.
_MOST_REFUSED = 100


class HuggingFaceSource(HubSource):
    """Lists and fetches the LoRAs of one endpoint.

    A repository is asked for once: card, files and hashes come in one answer.
    """

    hub, sites = HUB, SITES

    def __init__(
        self,
        endpoint: str = "https://huggingface.co",
        token: str | None = None,
        *,
        page_size: int = PAGE_SIZE,
        name: str | None = None,
        limits: DiskLimits | None = None,
        filters: Filters = EVERYTHING,
        manners: Manners = DEFAULT_MANNERS,
    ) -> None:
        client = HubClient(
            NAMES,
            endpoint,
            {"Authorization": f"Bearer {token}"} if token else {},
            manners,
        )
        super().__init__(client, name, limits, filters)
        self._page_size = page_size

    def list_adapters(
        self,
        updated_since: datetime | None = None,
        remembered: Mapping[str, Remembered] | None = None,
    ) -> Iterator[AdapterRecord | Refusal]:
        """Yield what changed at or after `updated_since`, oldest change first.

        The hub tells what changed, so what is `remembered` is not looked at. A repository that
        cannot be read is yielded as a `Refusal` and ends nothing.

        Raises:
            SourceError: the hub is down, or answers in a way that we do not know.
        """
        since, refused = self._filters.since(updated_since), list[Refusal]()
        found: dict[str, datetime] = {}
        for wanted in self._questions():
            found |= changed_since(NAMES.title, self._pages(wanted, refused), since)
        yield from refused
        yield from read_each(HUB, oldest_first(found), self._read_repo, self.wants)

    def would_list(self, record: AdapterRecord) -> bool:
        """Cards name a base in many ways, and the hub knows one as it is written alone."""
        asked = {base.lower() for base in self._filters.base_ids}
        named = {word.lower() for word in record.base_model_words}
        return self.wants(record) and (not asked or not asked.isdisjoint(named))

    def file_address(self, record: AdapterRecord) -> str:
        return _address(record.repo, record.file.name)

    def _questions(self) -> Iterator[Sequence[str]]:
        """Yield the tags of each listing that is asked for; all of one have to be there."""
        licences = [name.lower() for name in self._filters.licences]
        # One with a name of its own is "other" to the hub, which then lists all.
        is_known = len(licences) == 1 and licences[0] in LICENCES
        also = [f"license:{licences[0]}"] if is_known else []
        for base in self._filters.base_ids:
            yield [f"base_model:adapter:{base}", *also]
        bases = [[f"base_model:{base}"] for base in self._filters.base_ids] or [[]]
        yield from ([tag, *base, *also] for tag in LORA_TAGS for base in bases)

    def _pages(self, wanted: Sequence[str], refused: list[Refusal]) -> Iterator[list[ListedItem]]:
        question = [
            *(("filter", tag) for tag in wanted),
            ("sort", "lastModified"),
            ("limit", str(self._page_size)),
            *(("expand", field) for field in ("lastModified", "downloads", "tags", "private")),
        ]
        cursor: list[tuple[str, str]] = []
        for _ in range(_MAX_PAGES):
            answer, following = self._client.ask_page(f"api/models?{urlencode(question + cursor)}")
            if not isinstance(answer, list):
                raise SourceError(
                    f"Hugging Face answered a listing with no list: {quoted(str(answer), 200)}"
                )
            yield list(self._read_page(answer, refused))
            cursor = _cursor_of(following)
            if not cursor:
                return
        raise SourceError(f"Hugging Face lists more than {_MAX_PAGES} pages, more than it has")

    def _read_page(self, answer: list[Any], refused: list[Refusal]) -> Iterator[ListedItem]:
        for item in answer:
            try:
                yield read_listed(item, self._filters)
            except SourceError as error:
                if len(refused) < _MOST_REFUSED:
                    refused.append(Refusal(HUB, "", str(error)))

    def _read_repo(self, listed: ListedItem) -> list[AdapterRecord]:
        detail = self._client.ask_json("GET", f"api/models/{listed.repo}?blobs=true")
        if as_dict(detail).get("id") is None:
            raise SourceError(f"Hugging Face answered with no model: {quoted(str(detail), 200)}")
        if is_private(detail):
            return []
        files = listed_files(detail)
        if not files:
            if has_no_adapter(detail):
                raise NoAdapterError("the repository has no safetensors file of an adapter")
            # Mirrors and old answers tell hashes only there.
            tree = self._client.ask_json(
                "GET", f"api/models/{listed.repo}/tree/{REVISION}?recursive=true"
            )
            files = tree_files(tree)
        records = read_detail(
            detail, listed, files, self._client.endpoint, has_token=self._client.has_token
        )
        return [self._with_config(detail, record) for record in records]

    def _with_config(self, detail: Mapping[str, Any], record: AdapterRecord) -> AdapterRecord:
        """Add PEFT's config: only it says how strong an adapter is."""
        path = "" if record.withheld else config_beside(detail, record.file)
        if not path or not self.wants(record):
            return record
        try:
            config = json.dumps(self._client.ask_json("GET", _address(record.repo, path)))
        except (GoneError, AccessDeniedError):
            return record
        kept = config if len(config) <= MAX_CONFIG_BYTES else ""
        return replace(record, file=replace(record.file, peft_config=kept))


def _address(repo: str, path: str) -> str:
    return f"{repo}/resolve/{REVISION}/{quote(path)}"


def _cursor_of(following: str | None) -> list[tuple[str, str]]:
    """Return the cursor in the address of the next page, and nothing else of it.

    It may name another host, which our token is not for: mirrors pass on the hub's own addresses.
    """
    try:
        query = parse_qs(urlsplit(following or "").query)
    except ValueError:
        return []
    return [("cursor", query["cursor"][0])] if query.get("cursor") else []
