"""An image, drawn by the demo's base to its end."""

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from registry.fusion.recipe import read_recipe
from tests.browser.looking import violations, widths_that_overflow


def test_an_image_is_drawn_shown_and_saved_with_its_recipe(
    page: Page, eagle: int, tmp_path: Path
) -> None:
    page.goto(f"/fuse?adapter={eagle}")
    page.get_by_role("textbox", name="Prompt", exact=True).fill("an eagle")
    page.get_by_label("Steps", exact=True).fill("2")
    page.get_by_role("button", name="Make the image").click()
    save = page.get_by_role("link", name="Save PNG")
    save.wait_for()

    image = page.locator("#drawn img")
    expect(image).to_have_attribute("alt", re.compile("eagle"))
    expect(page.locator("#said")).to_have_text("The image is done.")
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    with page.expect_download() as started:
        save.click()
    saved = tmp_path / "fused.png"
    started.value.save_as(saved)
    recipe = read_recipe(saved)
    assert (recipe.prompt, recipe.steps) == ("an eagle", 2)
    # What a recipe says is long, and goes nowhere beyond the window.
    page.locator("summary", has_text=re.compile("^Recipe$")).click()
    assert violations(page) == []
    assert widths_that_overflow(page) == {}
