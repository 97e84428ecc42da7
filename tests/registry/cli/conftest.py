"""What commands find: a registry by the environment, and the encoder's own synthetic zoo."""

import pytest

from registry.service import Registry
from tests.encoder.conftest import zoo

__all__ = ["environment", "zoo"]


@pytest.fixture
def environment(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands find the tests' registry as they find anyone's."""
    monkeypatch.setenv("REGISTRY_HOME", str(registry.settings.home))
    monkeypatch.setenv("REGISTRY_DATABASE_URL", str(registry.settings.database_url))
    monkeypatch.setenv("COLUMNS", "120")
