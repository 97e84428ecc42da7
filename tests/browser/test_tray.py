"""What is put aside to fuse, and the page that fuses it: neither loses what the other has."""

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect


@pytest.fixture
def other(page: Page) -> int:
    """An adapter that was put aside, and is no eagle."""
    page.goto("/?q=黑色剪影")
    box = page.locator(".card input[name=adapter]").first
    box.check()
    return int(box.input_value())


def put_aside(page: Page) -> list[tuple[int, float]]:
    entries: list[dict[str, Any]] = page.evaluate("Tray.read()")
    return [(entry["id"], entry["strength"]) for entry in entries]


def strength(page: Page) -> Locator:
    return page.get_by_role("spinbutton", name="Strength")


def test_what_was_put_aside_elsewhere_stays_when_the_page_that_fuses_is_changed(
    page: Page, eagle: int, other: int
) -> None:
    """Before a link that somebody passed on was followed, and in another tab."""
    page.goto(f"/fuse?adapter={eagle}")
    strength(page).fill("0.9")
    strength(page).blur()
    assert put_aside(page) == [(eagle, 0.9), (other, 1)]

    with page.context.new_page() as tab:
        tab.goto("/")
        box = tab.locator(".card input[name=adapter]:not(:checked)").first
        third = int(box.input_value())
        box.check()
    strength(page).fill("0.8")
    strength(page).blur()
    assert put_aside(page) == [(eagle, 0.8), (other, 1), (third, 1)]

    page.get_by_role("button", name="Remove: 鹰").click()
    assert put_aside(page) == [(other, 1), (third, 1)]
