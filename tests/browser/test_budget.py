"""How much comes before one sees a page, and how still it stands; seconds are for benchmarks."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from benchmarks.page.measure import measure
from registry.api.app import create_app
from registry.service import Registry
from tests.browser.in_pieces import InPieces
from tests.registry.api.servers import served

PAGES = ("/", "/?q=eagle", "/adapters/{eagle}", "/fuse?adapter={eagle}")
WIDTHS = (360, 1280)
# Without covers, which are the adapters' own.
MOST_BYTES = 100_000
# A tenth of what web.dev calls good: https://web.dev/articles/cls
MOST_SHIFT = 0.01
# Of a page that comes in pieces: nothing of it moves.
MOST_SHIFT_SLOWLY = 0.001


@pytest.fixture(scope="module")
def slow_address(demo: Registry) -> Iterator[str]:
    app = create_app(demo)
    app.add_middleware(InPieces)
    with served(app) as (host, port):
        yield f"http://{host}:{port}"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_light_and_stands_still(
    browser: Browser, address: str, eagle: int, path: str, width: int
) -> None:
    figures = measure(browser, address, path.format(eagle=eagle), width)

    assert 1000 < figures.page_bytes <= MOST_BYTES
    assert figures.cover_bytes > 0
    assert figures.shift <= MOST_SHIFT


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("path", [*PAGES, "/?lang=zh"])
def test_a_page_that_comes_in_pieces_stands_still(
    browser: Browser, slow_address: str, eagle: int, path: str, width: int
) -> None:
    figures = measure(browser, slow_address, path.format(eagle=eagle), width)

    assert figures.shift <= MOST_SHIFT_SLOWLY
