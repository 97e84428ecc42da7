"""What tests of the crawler share: a hub on loopback and a source that asks it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from crawler.sources.modelscope import ModelScopeSource
from demo.hub.modelscope import serve
from demo.hub.modelscope_facts import Hub
from tests.crawler.builders import add_entry

NAMES = ["cat", "dog", "fox", "ice", "owl"]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """Five adapters, changed a day apart, on a hub that does as told."""
    folder = tmp_path / "zoo"
    folder.mkdir()
    for name in NAMES:
        add_entry(folder, name)
    with serve(folder) as hub:
        yield hub


@pytest.fixture
def source(hub: Hub) -> Iterator[ModelScopeSource]:
    """The source under test; two a page, so that five adapters are three pages."""
    with ModelScopeSource(hub.endpoint, page_size=2) as source:
        yield source
