"""What a person, and a program for blind people, meet on a page."""

import json

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

# Narrow phones, usual ones, and a desk; WCAG 1.4.10 asks for 320.
WIDTHS = (320, 360, 1280)
HEIGHT = 900
# https://github.com/dequelabs/axe-core/blob/develop/doc/API.md#axe-core-tags
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

WORDS = """() => {
    const words = [document.title];
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const { parentElement, textContent } = texts.currentNode;
        if (!parentElement.closest("script, style, noscript, pre")) words.push(textContent.trim());
    }
    for (const name of ["alt", "title", "aria-label", "placeholder"])
        for (const element of document.querySelectorAll(`[${name}]`))
            words.push(element.getAttribute(name));
    return words.filter(Boolean);
}"""


def widths_that_overflow(page: Page) -> dict[int, int]:
    """Return how wide the page is where that is wider than the window, by the window's width."""
    over = {}
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": HEIGHT})
        needed: int = page.evaluate("document.scrollingElement.scrollWidth")
        if needed > width:
            over[width] = needed
    return over


def violations(page: Page) -> list[str]:
    """Return what axe-core finds wrong with the page as it is shown now.

    Tiles are alike, and contrast takes it long: the first ones speak for all.
    """
    page.evaluate(AXE_SCRIPT)
    options = json.dumps({"runOnly": RULES, "resultTypes": ["violations"]})
    where = json.dumps({"exclude": [".card:nth-child(n + 4)"]})
    found = page.evaluate(f"axe.run({where}, {options})")["violations"]
    return [
        f"{fault['id']}: {node['html'][:200]}: {node['failureSummary'][:300]}"
        for fault in found
        for node in fault["nodes"][:3]
    ]


def words(page: Page) -> list[str]:
    """Return every text of the page, those of its attributes too."""
    said: list[str] = page.evaluate(WORDS)
    return said
