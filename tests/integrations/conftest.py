"""The registry that programs of other people ask."""

from tests.registry.conftest import registry

__all__ = ["registry"]
