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

    # A reload loses neither what was filled in nor what was drawn.
    page.get_by_label("Negative prompt").fill("text")
    page.get_by_role("spinbutton", name="Strength").fill("0.83")
    page.get_by_role("button", name="Random seed").click()
    seed = page.get_by_label("Seed", exact=True).input_value()
    page.get_by_label("How many").fill("9")  # which nobody draws, and no address asks for
    page.reload()
    page.get_by_role("link", name="Save PNG").wait_for()
    expect(page.get_by_label("Negative prompt")).to_have_value("text")
    expect(page.get_by_role("spinbutton", name="Strength")).to_have_value("0.83")
    expect(page.get_by_role("slider")).to_have_value("0.85")
    expect(page.get_by_label("Seed", exact=True)).to_have_value(seed)
    expect(page.get_by_label("Steps", exact=True)).to_have_value("2")
    expect(page.get_by_label("How many")).to_have_value("1")
    # What a recipe says is long, and goes nowhere beyond the window.
    page.locator("summary", has_text=re.compile("^Recipe$")).click()
    assert violations(page) == []
    assert widths_that_overflow(page) == {}
