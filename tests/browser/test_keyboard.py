"""Everything by keyboard: where the focus is can be seen, and nothing holds it."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

# The focused element's name for people, whether its focus is shown, and whether it is in sight.
FOCUSED = """() => {
    const element = document.activeElement;
    const box = element.getBoundingClientRect();
    // A tile shows it as a whole.
    const shown = [element, element.closest(".card")].filter(Boolean).some((one) => {
        const { outlineStyle, outlineWidth } = getComputedStyle(one);
        return outlineStyle !== "none" && parseFloat(outlineWidth) > 0;
    });
    const inSight = box.width > 0 && box.bottom > 0 && box.top < innerHeight;
    return {
        said: (element.getAttribute("aria-label") || element.textContent).trim().slice(0, 80),
        tag: element.tagName, shown, inSight,
    };
}"""

# Whether what stays at the bottom lies over what has the focus, and is not what has it.
COVERED = """() => {
    const { left, top, width, height } = document.activeElement.getBoundingClientRect();
    const bar = document.elementFromPoint(left + width / 2, top + height / 2)?.closest(".actions");
    return Boolean(bar) && !bar.contains(document.activeElement);
}"""


def tab(page: Page, times: int = 1) -> list[dict[str, Any]]:
    stops = []
    for _ in range(times):
        page.keyboard.press("Tab")
        stops.append(page.evaluate(FOCUSED))
    return stops


def tab_to(page: Page, said: str, most: int = 80) -> None:
    """Go on until the focus is on what is called so."""
    stops = []
    for _ in range(most):
        stops += tab(page)
        if said == stops[-1]["said"]:
            return
    raise AssertionError(f"no {said} among {[stop['said'] for stop in stops]}")


def test_the_first_stop_skips_to_the_content(page: Page, eagle: int) -> None:
    page.goto(f"/adapters/{eagle}")

    assert tab(page)[0]["said"] == "Skip to content"
    page.keyboard.press("Enter")
    assert page.url.endswith("#content")
    assert tab(page)[0]["said"] == "by pixelplum"


def test_every_stop_is_seen(page: Page) -> None:
    """On a page of results: the search, its facets, its tiles."""
    page.goto("/?q=eagle")
    stops = tab(page, 40)

    assert [stop for stop in stops if not stop["shown"]] == []
    assert [stop for stop in stops if not stop["inSight"]] == []
    assert len({stop["said"] for stop in stops}) > 20


def test_an_image_is_asked_for_by_keyboard_alone(page: Page) -> None:
    page.goto("/")
    # The field has the focus there.
    page.keyboard.type("eagle")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=eagle")
    tab_to(page, "鹰")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("鹰")
    tab_to(page, "Fuse with this")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Fuse")
    tab_to(page, "Make the image")


@pytest.mark.parametrize("path", ["/", "/fuse", "/adapters/{eagle}", "/images", "/folders", "/x"])
def test_a_slash_leads_to_a_search_box_from_everywhere(page: Page, path: str, eagle: int) -> None:
    page.goto(path.format(eagle=eagle))
    page.locator("h1").click()
    page.keyboard.press("/")

    expect(page.locator("input[type=search]").first).to_be_focused()
    page.keyboard.type("a/b")
    expect(page.locator("input[type=search]").first).to_have_value("a/b")


def test_a_slash_is_typed_where_one_types(page: Page) -> None:
    page.goto("/folders")
    page.get_by_label("A folder on this machine").press_sequentially("/home")

    expect(page.get_by_label("A folder on this machine")).to_have_value("/home")


def test_what_is_done_with_ticked_images_covers_nothing_that_has_the_focus(
    page: Page, drawn: int, drawn_otherwise: int
) -> None:
    page.set_viewport_size({"width": 320, "height": 500})
    page.goto("/images")
    for image in (drawn, drawn_otherwise):
        page.get_by_label(f"Select image {image}", exact=True).check()
    # The upper one, where the lower end of the window is, and the stop before it.
    card = page.locator(".card", has=page.locator("input:checked")).first
    card.locator("h2 a").focus()
    card.locator("input").evaluate(
        "box => scrollBy(0, box.getBoundingClientRect().bottom - innerHeight + 20)"
    )
    page.keyboard.press("Tab")

    expect(card.locator("input")).to_be_focused()
    assert not page.evaluate(COVERED)


def test_a_note_is_written_in_more_than_a_few_letters_on_a_phone(page: Page, eagle: int) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    page.goto(f"/adapters/{eagle}")

    box = page.get_by_label("Note").bounding_box()
    assert box is not None
    assert box["width"] > 250
