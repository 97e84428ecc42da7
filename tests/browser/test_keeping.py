"""What people keep, and what they would rather not see."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect
from sqlalchemy import update

from registry.db.models import Adapter
from registry.service import Registry


def tile(page: Page, name: str) -> Locator:
    return page.locator(".card", has=page.get_by_role("heading", name=name, exact=True))


def test_a_favourite_is_kept_with_its_note_and_given_up(page: Page, eagle: int) -> None:
    page.goto("/?q=eagle")
    star = tile(page, "鹰").get_by_role("button", name="Favourite")
    star.click()
    expect(star).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#said")).to_have_text("鹰 is a favourite.")

    page.goto(f"/adapters/{eagle}")
    page.get_by_label("Note").fill("for flags")
    page.get_by_role("button", name="Save the note").click()
    page.goto("/")
    page.get_by_role("link", name=re.compile("Favourites only")).click()
    expect(page.locator(".card")).to_have_count(1)
    expect(tile(page, "鹰")).to_contain_text("for flags")

    star = tile(page, "鹰").get_by_role("button", name="Favourite")
    star.click()
    expect(star).to_have_attribute("aria-pressed", "false")


def test_a_star_is_pressed_as_often_as_one_likes(page: Page) -> None:
    page.goto("/?q=eagle")
    star = tile(page, "鹰").get_by_role("button", name="Favourite")
    for marks in ("true", "false", "true", "false"):
        star.click()
        expect(star).to_have_attribute("aria-pressed", marks)


@pytest.fixture
def mature_eagle(demo: Registry, eagle: int) -> Iterator[int]:
    def rate(mature: bool | None) -> None:
        with demo.sessions.begin() as session:
            session.execute(update(Adapter).where(Adapter.id == eagle).values(mature=mature))

    before = demo.adapter(eagle).card.mature
    rate(mature=True)
    yield eagle
    rate(before)


def test_what_is_mature_is_blurred_until_it_is_asked_for(page: Page, mature_eagle: int) -> None:
    page.goto("/?q=eagle")
    picture = tile(page, "鹰").locator(".cover img")
    is_blurred = "image => getComputedStyle(image).filter.includes('blur')"
    assert picture.evaluate(is_blurred)

    tile(page, "鹰").get_by_label("Show pictures of 鹰").check()
    assert not picture.evaluate(is_blurred)
    # For somebody who wants to see all, everywhere.
    page.get_by_role("navigation", name="Blur").get_by_role("link", name="nothing").click()
    assert not picture.evaluate(is_blurred)
    page.goto(f"/adapters/{mature_eagle}")
    assert not page.locator(".gallery img").first.evaluate(is_blurred)


def test_an_image_is_deleted_for_good(page: Page, eagle: int) -> None:
    page.goto(f"/fuse?adapter={eagle}")
    page.get_by_role("textbox", name="Prompt", exact=True).fill("an eagle")
    page.get_by_label("Steps", exact=True).fill("1")
    page.get_by_role("button", name="Make the image").click()
    page.locator("#drawn a", has=page.get_by_role("img")).click()
    image = page.get_by_role("heading", level=1).inner_text()
    address = page.url

    page.get_by_text("Delete this image").click()
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Images made here")
    assert f"Select {image.lower()}" not in page.content()
    answer = page.goto(address)
    assert answer is not None
    assert answer.status == 404
