"""How much comes before one sees a page, and how still it stands; seconds are for benchmarks."""

import pytest
from playwright.sync_api import Browser

from benchmarks.page.measure import measure

# Without covers, which are the adapters' own.
MOST_BYTES = 100_000
# A tenth of what web.dev calls good: https://web.dev/articles/cls
MOST_SHIFT = 0.01


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("path", ["/", "/?q=eagle", "/adapters/{eagle}", "/fuse?adapter={eagle}"])
def test_a_page_is_light_and_stands_still(
    browser: Browser, address: str, eagle: int, path: str, width: int
) -> None:
    figures = measure(browser, address, path.format(eagle=eagle), width)

    assert 1000 < figures.page_bytes <= MOST_BYTES
    assert figures.cover_bytes > 0
    assert figures.shift <= MOST_SHIFT
