"""Which adapters a crawl is to list: the same filters for every hub."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from crawler.records import AdapterRecord

# What `name_base` calls what it does not know.
UNKNOWN = "unknown"


def _unknown(words: Iterable[str]) -> str:
    return UNKNOWN


@dataclass(frozen=True, slots=True)
class Filters:
    """What an adapter has to be; an empty field asks nothing.

    Hubs are asked for no more than this where they can filter. What they list is held against it
    all the same: some ignore a filter that they do not understand. What a hub says nothing of is
    not wanted by a filter that asks for it, but for maturity, which few hubs tell.
    """

    # Our names, as `name_base` gives them for a hub's words, and their ids on Hugging Face.
    base_models: frozenset[str] = frozenset()
    name_base: Callable[[Iterable[str]], str] = _unknown
    base_ids: tuple[str, ...] = ()
    # One of them has to be there; letters count, not their case.
    tags: frozenset[str] = frozenset()
    licences: frozenset[str] = frozenset()
    min_downloads: int = 0
    # None: both; False leaves out what is said to be mature.
    mature: bool | None = None
    updated_since: datetime | None = None

    def since(self, cursor: datetime | None) -> datetime | None:
        """Return the later of a cursor and `updated_since`."""
        return max(filter(None, (cursor, self.updated_since)), default=None)

    def wants(self, record: AdapterRecord) -> bool:
        return (
            record.downloads >= self.min_downloads
            and self.wants_base(record.base_model_words)
            and self.wants_tags(record.tags)
            and (not self.licences or (record.licence or "").lower() in _lower(self.licences))
            and self.wants_maturity(record.mature)
            and (self.updated_since is None or record.updated_at >= self.updated_since)
        )

    def wants_base(self, words: Iterable[str]) -> bool:
        """Whether a hub's words name a base model that is asked for."""
        return not self.base_models or self.name_base(words) in self.base_models

    def wants_maturity(self, mature: bool | None) -> bool:
        return self.mature is None or bool(mature) == self.mature

    def wants_tags(self, tags: Iterable[str]) -> bool:
        return not self.tags or bool(_lower(self.tags) & _lower(tags))

    def bases_among(self, words: Iterable[str]) -> list[str]:
        """Return those of a hub's own names of base models that are asked for.

        Empty where all are, or where one has no name there: then the hub cannot filter for us.
        """
        named = {word: self.name_base([word]) for word in words}
        if not self.base_models <= set(named.values()):
            return []
        return [word for word, name in named.items() if name in self.base_models]


def _lower(words: Iterable[str]) -> set[str]:
    return {word.lower() for word in words}


EVERYTHING = Filters()
