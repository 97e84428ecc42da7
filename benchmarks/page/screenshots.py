"""Pictures of pages for the docs: a search with adapters put aside, and an image made of them."""

import io
import re
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page

from benchmarks.results import DOCS

IMAGES = DOCS / "images"
# What is put together: a thing from a Chinese search, a look from an English one.
SEARCHES = ("红心", "blue polka dot texture")
PROMPT = "a red heart with a blue polka dot texture"
WIDTH = 1280


def take(browser: Browser, address: str) -> None:
    """Write page-search.png and page-fuse.png, as one who puts two adapters together sees them."""
    with browser.new_context(
        base_url=address, locale="en-GB", viewport={"width": WIDTH, "height": 900}
    ) as context:
        page = context.new_page()
        for words in SEARCHES:
            page.goto("/")
            page.get_by_role("searchbox").first.fill(words)
            page.keyboard.press("Enter")
            page.wait_for_url(re.compile(r"\?q="))
            page.locator(".card input[name=adapter]").first.check()
        write(page, IMAGES / "page-search.png", height=860)
        page.get_by_role("button", name="Fuse selected").click()
        page.wait_for_url(re.compile("/fuse"))
        page.get_by_role("textbox", name="Prompt", exact=True).fill(PROMPT)
        page.get_by_role("button", name="Make the image").click()
        page.get_by_role("link", name="Save PNG").wait_for(timeout=120_000)
        write(page, IMAGES / "page-fuse.png", height=1120)


def write(page: Page, path: Path, height: int) -> None:
    """Write what a window shows of a page's beginning."""
    page.set_viewport_size({"width": WIDTH, "height": height})
    # Where it points, covers come up.
    page.mouse.move(0, 0)
    page.evaluate("() => { document.activeElement.blur(); scrollTo(0, 0); }")
    # Lazy covers come when they are looked at.
    page.wait_for_load_state("networkidle")
    shown = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    shown.save(path, optimize=True)
