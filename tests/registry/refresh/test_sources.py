"""Which source an address is opened as."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from crawler.records import Source
from crawler.sources.civitai import BASES, CivitaiSource
from crawler.sources.folder import FolderSource
from crawler.sources.hugging_face import HuggingFaceSource
from crawler.sources.modelscope import ModelScopeSource
from encoder.base_models.names import UNKNOWN_BASE_MODEL, name_listed
from registry.config import Settings
from registry.errors import CrawlFilterError, UnknownSourceError
from registry.refresh.sources import SOURCES, filters_of, open_source, wanted_names

OWN = "http://127.0.0.1:8123"
HUBS: dict[str, tuple[type[Source], str]] = {
    "modelscope": (ModelScopeSource, "https://modelscope.cn"),
    "hugging_face": (HuggingFaceSource, "https://huggingface.co"),
    "civitai": (CivitaiSource, "https://civitai.com"),
}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings with a hub of one's own, and a token for it."""
    update = {"modelscope_endpoint": OWN, "modelscope_token": SecretStr("secret")}
    return settings.model_copy(update=update)


@pytest.mark.parametrize("address", [None, OWN, f"{OWN}/", "https://www.modelscope.ai"])
def test_modelscope_is_its_own_sites_and_the_endpoint_of_the_settings(
    address: str | None, settings: Settings
) -> None:
    source = open_source(address, settings)

    assert isinstance(source, ModelScopeSource)
    assert source.endpoint == (address or OWN).rstrip("/")
    source.close()


@pytest.mark.parametrize("hub", HUBS)
def test_each_hub_is_its_own_sites_and_the_endpoint_of_the_settings(
    hub: str, settings: Settings
) -> None:
    kind, site = HUBS[hub]
    update = {"modelscope_endpoint": "https://modelscope.ai", f"{hub}_endpoint": OWN}
    settings = settings.model_copy(update=update)

    for address in (OWN, f"{OWN}/", site):
        source = open_source(address, settings)
        assert isinstance(source, kind)
        assert source.endpoint == address.rstrip("/")
        source.close()


@pytest.mark.parametrize("hub", HUBS)
def test_a_token_is_for_the_endpoint_of_the_settings_alone(hub: str, settings: Settings) -> None:
    """Another site has no business with it."""
    _, site = HUBS[hub]
    update = {
        "modelscope_endpoint": "https://modelscope.ai",
        f"{hub}_endpoint": OWN,
        f"{hub}_token": SecretStr("secret"),
    }
    settings = settings.model_copy(update=update)
    tokens = []
    for address in (OWN, site):
        source = open_source(address, settings)
        assert isinstance(source, ModelScopeSource | HuggingFaceSource | CivitaiSource)
        tokens.append(source._client._headers.get("Authorization"))
        source.close()

    assert tokens == ["Bearer secret", None]


def test_an_archive_is_asked_only_where_the_settings_name_one(settings: Settings) -> None:
    named = settings.model_copy(update={"civarchive_endpoint": "https://civarchive.com/api"})

    for chosen, asks in ((settings, False), (named, True)):
        source = open_source("https://civitai.com", chosen)
        assert isinstance(source, CivitaiSource)
        assert (source._archive is not None) is asks
        source.close()


def test_what_is_crawled_for_is_said_in_words_of_hubs(settings: Settings) -> None:
    update = {
        "crawl_base_models": ["flux.1-dev", "flux.1-schnell"],
        "crawl_tags": ["anime"],
        "crawl_min_downloads": 10,
        "crawl_mature": False,
        "crawl_updated_since": date(2026, 1, 2),
    }

    filters = filters_of(settings.model_copy(update=update))

    assert filters.base_models == {"flux.1-dev", "flux.1-schnell"}
    assert "black-forest-labs/FLUX.1-dev" in filters.base_ids
    assert len(filters.base_ids) == 2
    assert filters.wants_base(["Flux.1 D"])
    assert not filters.wants_base(["Pony"])
    assert filters.bases_among(BASES) == ["Flux.1 D", "Flux.1 S"]
    assert filters.updated_since == datetime(2026, 1, 2, tzinfo=UTC)
    assert filters.tags == {"anime"}
    assert (filters.min_downloads, filters.mature) == (10, False)


def test_a_familys_name_asks_for_all_of_it(settings: Settings) -> None:
    names = wanted_names(["flux.1"])

    assert {"flux.1-dev", "flux.1-schnell", "flux.1-kontext-dev"} <= names
    # Nothing on a hub is called so.
    assert "flux.1" not in names


@pytest.mark.parametrize(
    ("written", "ours"),
    [("Flux.1 D", "flux.1-dev"), ("SDXL", "sdxl-1.0"), ("SD1.5", "sd-1.5"), ("Pony", "pony")],
)
def test_base_models_are_crawled_for_as_people_write_them(written: str, ours: str) -> None:
    """Searching by these names works; who copies one from a hub's page means the same."""
    assert wanted_names([written]) == wanted_names([ours])


def test_a_base_model_that_is_not_known_is_refused_with_what_is(settings: Settings) -> None:
    settings = settings.model_copy(update={"crawl_base_models": ["fluks"]})

    with pytest.raises(CrawlFilterError, match=r"'fluks'.*flux\.1-dev"):
        open_source("https://civitai.com", settings)


def test_every_name_that_civitai_is_asked_to_filter_by_is_known_here() -> None:
    assert [base for base in BASES if name_listed([base]) == UNKNOWN_BASE_MODEL] == []


def test_a_folder_is_a_source(settings: Settings, tmp_path: Path) -> None:
    source = open_source(str(tmp_path), settings)

    assert isinstance(source, FolderSource)
    assert source.endpoint == str(tmp_path)


@pytest.mark.parametrize(
    "address",
    [
        "https://example.org",
        "http://modelscope.cn",
        "http://127.0.0.1:9",
        "https://modelscope.cn.example.org",
        "/no/such",
    ],
)
def test_what_no_source_takes_is_refused_with_what_is_possible(
    address: str, settings: Settings
) -> None:
    """A stranger's site is not asked as if it were ModelScope."""
    with pytest.raises(UnknownSourceError) as caught:
        open_source(address, settings)

    assert address in str(caught.value)
    assert all(known.addresses in str(caught.value) for known in SOURCES)


def test_a_folder_that_is_not_there_is_said_to_be_missing(settings: Settings) -> None:
    with pytest.raises(UnknownSourceError, match=r"'\./loras': there is no such folder here"):
        open_source("./loras", settings)


@pytest.mark.parametrize("address", ["", "  "])
def test_an_empty_address_is_neither_the_present_folder_nor_a_hub(
    address: str, settings: Settings
) -> None:
    """As scripts give it whose variable is not set."""
    with pytest.raises(UnknownSourceError, match="it is empty"):
        open_source(address, settings)


def test_what_cannot_be_looked_at_is_no_folder(settings: Settings) -> None:
    with pytest.raises(UnknownSourceError, match="there is no such folder here"):
        open_source("a" * 300, settings)


def test_a_file_is_said_to_be_taken_with_its_folder(settings: Settings) -> None:
    with pytest.raises(UnknownSourceError, match="taken with the folder that it lies in"):
        open_source("loras/ink.safetensors", settings)
