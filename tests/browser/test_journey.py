"""A thing from an English search and a look from a Chinese one, all the way and back."""

import base64
import re
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect

from registry.fusion.recipe import read_recipe

DROP = """([name, data]) => {
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    const dropped = new DataTransfer();
    dropped.items.add(new File([bytes], name, {type: "image/png"}));
    document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: dropped, bubbles: true}));
}"""


def put_aside(page: Page, words: str) -> str:
    """Search, and put the first that is found into the tray; return its name."""
    page.get_by_role("searchbox").first.fill(words)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"\?q="))
    first = page.locator(".card").first
    first.locator("input[name=adapter]").check()
    return first.get_by_role("heading").inner_text()


def draw(page: Page) -> None:
    page.get_by_label("Steps", exact=True).fill("2")
    page.get_by_role("button", name="Make the image").click()
    page.locator("#drawn img").wait_for()


def save(page: Page, path: Path) -> Path:
    with page.expect_download() as started:
        page.get_by_role("link", name="Save PNG").first.click()
    started.value.save_as(path)
    return path


def test_found_put_together_drawn_and_drawn_again_to_the_pixel(page: Page, tmp_path: Path) -> None:
    page.goto("/")
    thing = put_aside(page, "eagle")
    page.goto("/")
    look = put_aside(page, "黑色剪影")
    page.reload()
    assert page.locator(".in-tray li a").all_inner_texts() == [thing, look] == ["鹰", look]

    page.get_by_role("button", name="Fuse selected").click()
    page.wait_for_url(re.compile("/fuse"))
    assert page.locator("#chosen [data-adapter]").evaluate_all(
        "items => items.map((item) => item.dataset.name)"
    ) == [thing, look]
    expect(page.get_by_role("textbox", name="Prompt", exact=True)).to_have_value("eagle, 黑色剪影")
    draw(page)
    first = save(page, tmp_path / "first.png")
    recipe = read_recipe(first)
    assert [used.name for used in recipe.adapters] == [thing, look]

    # Beside one another: without adapters, with each, and with both in every way.
    page.locator("#drawn a", has=page.get_by_role("img")).click()
    original = page.url
    page.get_by_role("button", name="Compare base").click()
    page.wait_for_url(lambda url: url != original)
    page.locator("img.sheet").wait_for()

    # Dropped on the first page, it leads to its adapters.
    page.goto("/")
    page.evaluate(DROP, [first.name, base64.b64encode(first.read_bytes()).decode()])
    page.wait_for_url("**/picture")
    assert set(page.locator(".card h3").all_inner_texts()[:2]) == {thing, look}

    page.goto(original)
    page.get_by_role("button", name="Draw it again, to the pixel").click()
    page.wait_for_url(lambda url: url != original)
    page.get_by_role("link", name="Save PNG").wait_for()
    again = save(page, tmp_path / "again.png")
    assert Image.open(again).tobytes() == Image.open(first).tobytes()
