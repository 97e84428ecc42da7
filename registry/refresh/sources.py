"""Where adapters come from: the one table of hubs, and how an address finds its hub there."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time
from functools import partial
from pathlib import Path
from typing import Any

from crawler.filters import Filters
from crawler.records import Source
from crawler.sources.civitai import CivitaiSource
from crawler.sources.folder import FolderSource
from crawler.sources.hugging_face import HuggingFaceSource
from crawler.sources.modelscope import ModelScopeSource
from encoder.base_models.facts import related_base_models, variant_names, variant_of
from encoder.base_models.names import find_base_model, name_listed
from registry.config import Settings
from registry.errors import CrawlFilterError, UnknownSourceError

Hub = type[ModelScopeSource] | type[HuggingFaceSource] | type[CivitaiSource]


@dataclass(frozen=True, slots=True)
class KnownSource:
    """A kind of source: `takes` tells its addresses from others, `open` makes one."""

    # What may be written for it, for people.
    addresses: str
    takes: Callable[[str, Settings], bool]
    open: Callable[[str, Settings], Source]


def open_source(address: str | None, settings: Settings) -> Source:
    """Open the source that takes an address; without one, the hub of the settings.

    Raises:
        UnknownSourceError: none does; it lists what is possible.
        CrawlFilterError: the settings ask for what there is not.
    """
    if address is None:
        address = settings.modelscope_endpoint
    # A variable that is not set, in a script: the folder where one happens to be is not meant.
    meant = address.strip()
    for known in SOURCES:
        if meant and known.takes(address, settings):
            return known.open(address, settings)
    raise UnknownSourceError(address, [known.addresses for known in SOURCES])


def filters_of(settings: Settings) -> Filters:
    """Return what the settings want of hubs, in words that hubs have.

    Raises:
        CrawlFilterError: a base model is not known here.
    """
    names = wanted_names(settings.crawl_base_models)
    ids = [variant_of(name).hub_id for name in sorted(names)]
    since = settings.crawl_updated_since
    return Filters(
        base_models=names,
        name_base=name_listed,
        # A hub that filters by ids would leave out a base model that has none.
        base_ids=tuple(id_ for id_ in ids if id_) if all(ids) else (),
        tags=frozenset(settings.crawl_tags),
        licences=frozenset(settings.crawl_licences),
        min_downloads=settings.crawl_min_downloads,
        mature=settings.crawl_mature,
        updated_since=datetime.combine(since, time(), UTC) if since else None,
    )


def wanted_names(base_models: Iterable[str]) -> frozenset[str]:
    """Return the base models that are meant, a family's name for all of it, as hubs name them.

    Each may be written as hubs, trainers or people write it.

    Raises:
        CrawlFilterError: one is not known here.
    """
    names: set[str] = set()
    for base_model in base_models:
        known = find_base_model(base_model) or base_model
        meant = [name for name in related_base_models(known) if variant_of(name).hub_words]
        if not meant:
            raise CrawlFilterError(base_model, variant_names())
        names |= set(meant)
    return frozenset(names)


def _known_hub(hub: Hub, setting: str, sites: str) -> KnownSource:
    """Return a hub's row: its own sites, and the endpoint of the settings that begin so."""
    return KnownSource(
        addresses=f"{sites}, or the endpoint that REGISTRY_{setting.upper()}_ENDPOINT names",
        takes=partial(_takes, hub, setting),
        open=partial(_open, hub, setting),
    )


def _takes(hub: Hub, setting: str, address: str, settings: Settings) -> bool:
    return _is_configured(setting, address, settings) or hub.takes(address)


def _open(hub: Hub, setting: str, address: str, settings: Settings) -> Source:
    # The token belongs to the configured endpoint, and to nobody else.
    token: Any = getattr(settings, f"{setting}_token")
    own = token if _is_configured(setting, address, settings) else None
    open_hub: Callable[..., Source] = hub
    if hub is CivitaiSource:
        open_hub = partial(CivitaiSource, archive=settings.civarchive_endpoint)
    return open_hub(
        address,
        own.get_secret_value() if own else None,
        limits=settings.disk_limits,
        filters=filters_of(settings),
        manners=settings.manners(hub.hub),
    )


def _is_configured(setting: str, address: str, settings: Settings) -> bool:
    endpoint: str = getattr(settings, f"{setting}_endpoint")
    return address.rstrip("/") == endpoint.rstrip("/")


def _what_is_wrong(path: Path) -> str | None:
    """Say what `autolora inspect` would of a file that is no safetensors; None if it is one."""
    from encoder.adapter.safetensors_header import read_header
    from encoder.errors import LoraFileError

    try:
        read_header(path)
    except LoraFileError as error:
        return error.cause
    return None


SOURCES = (
    _known_hub(ModelScopeSource, "modelscope", "https://modelscope.cn, https://modelscope.ai"),
    _known_hub(HuggingFaceSource, "hugging_face", "https://huggingface.co"),
    _known_hub(CivitaiSource, "civitai", "https://civitai.red, https://civitai.com"),
    KnownSource(
        addresses="a folder of this machine",
        takes=lambda address, _: FolderSource.takes(address),
        open=lambda address, settings: FolderSource(
            Path(address), settings.disk_limits, _what_is_wrong
        ),
    ),
)
