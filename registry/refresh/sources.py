"""Where adapters come from: the one table of hubs, and how an address finds its hub there."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from crawler.records import Source
from crawler.sources.folder import FolderSource
from crawler.sources.modelscope import ModelScopeSource
from registry.config import Settings
from registry.errors import UnknownSourceError


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
    """
    address = address or settings.modelscope_endpoint
    for known in SOURCES:
        if known.takes(address, settings):
            return known.open(address, settings)
    raise UnknownSourceError(address, [known.addresses for known in SOURCES])


def _is_modelscope(address: str, settings: Settings) -> bool:
    return _is_configured(address, settings) or ModelScopeSource.takes(address)


def _open_modelscope(address: str, settings: Settings) -> Source:
    # The token belongs to the configured endpoint, and to nobody else.
    token = settings.modelscope_token if _is_configured(address, settings) else None
    return ModelScopeSource(
        address, token.get_secret_value() if token else None, limits=settings.disk_limits
    )


def _is_configured(address: str, settings: Settings) -> bool:
    return address.rstrip("/") == settings.modelscope_endpoint.rstrip("/")


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
    KnownSource(
        addresses="https://modelscope.cn, https://modelscope.ai, or the endpoint that "
        "REGISTRY_MODELSCOPE_ENDPOINT names",
        takes=_is_modelscope,
        open=_open_modelscope,
    ),
    KnownSource(
        addresses="a folder of this machine",
        takes=lambda address, _: FolderSource.takes(address),
        open=lambda address, settings: FolderSource(
            Path(address), settings.disk_limits, _what_is_wrong
        ),
    ),
)
