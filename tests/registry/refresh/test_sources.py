"""Which source an address is opened as."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from crawler.sources.folder import FolderSource
from crawler.sources.modelscope import ModelScopeSource
from registry.config import Settings
from registry.errors import UnknownSourceError
from registry.refresh.sources import SOURCES, open_source

OWN = "http://127.0.0.1:8123"


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


def test_a_token_is_for_the_endpoint_of_the_settings_alone(settings: Settings) -> None:
    """Another site has no business with it."""
    tokens = []
    for address in (OWN, "https://modelscope.cn"):
        source = open_source(address, settings)
        assert isinstance(source, ModelScopeSource)
        tokens.append(source._client._headers.get("Authorization"))
        source.close()

    assert tokens == ["Bearer secret", None]


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
