"""What is put aside to fuse, and the page that fuses it: neither loses what the other has."""

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

# Whether another thing lies over what has the focus.
COVERED = """() => {
    const { left, top, width, height } = document.activeElement.getBoundingClientRect();
    const seen = document.elementFromPoint(left + width / 2, top + height / 2);
    return Boolean(seen?.closest("#tray")) && !document.activeElement.closest("#tray");
}"""


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


@pytest.mark.parametrize("typed", ["12", ""])
def test_what_is_no_strength_is_kept_nowhere(
    page: Page, eagle: int, other: int, typed: str
) -> None:
    """The page that fuses would refuse its own address, at every visit."""
    page.goto(f"/fuse?adapter={other}&adapter={eagle}&strength=1&strength=0.7")
    strength(page).last.fill("0.83")
    strength(page).last.press("Tab")
    strength(page).last.fill(typed)
    page.get_by_role("button", name="Move 鹰 up").click()

    assert put_aside(page) == [(eagle, 0.83), (other, 1)]
    expect(page).to_have_url(re.compile(r"strength=0\.83&strength=1$"))
    # And is still there to be mended.
    expect(strength(page).first).to_have_value(typed)


def test_what_two_long_questions_found_is_fused_with_as_long_a_prompt_as_is_read(
    page: Page, eagle: int
) -> None:
    for words in ("eagle " * 200, "violin " * 200):
        page.goto(f"/?q={words.strip()}")
        page.locator(".card input[name=adapter]:not(:checked)").first.check()
    page.get_by_role("button", name="Fuse selected").click()

    prompt = page.get_by_role("textbox", name="Prompt", exact=True)
    expect(prompt).to_have_value(re.compile("^eagle .* eagle, violin .*", re.DOTALL))
    assert len(prompt.input_value()) == 2000


ENTRY = {"id": 1, "name": "fox", "base": "flux.1-dev", "strength": 1}


@pytest.mark.parametrize(
    "kept",
    [
        [ENTRY | {"strength": 12}],
        [ENTRY | {"id": -1}],
        [ENTRY | {"cover": {}, "query": {}}],
        [ENTRY | {"base": "constructor"}],
        [ENTRY | {"id": n} for n in range(1, 99)],
        [None, 7, "fox", [ENTRY]],
        {"id": 1},
    ],
)
def test_whatever_a_browser_keeps_the_page_that_fuses_is_shown(page: Page, kept: object) -> None:
    """Other programs may have been at this address, and people edit."""
    page.goto("/")
    page.evaluate(
        """kept => {
            const { registry } = document.querySelector("[data-registry]").dataset;
            localStorage.setItem(`tray-${registry}`, JSON.stringify(kept));
        }""",
        kept,
    )
    page.goto("/?q=eagle")
    page.get_by_label("Select 鹰").click()
    page.get_by_role("link", name="Fuse", exact=True).click()

    page.wait_for_url("**/fuse?**")
    expect(page.get_by_role("heading", level=1)).to_have_text("Fuse adapters into one image")


def test_the_tray_is_fused_where_an_address_asks_for_nothing_else(page: Page, other: int) -> None:
    """What is drawn without adapters, as an image was, stays so; nor is what was drawn lost."""
    page.goto("/fuse?lang=en")
    expect(page).to_have_url(re.compile(rf"\?prompt=.*&adapter={other}&strength=1$"))

    page.goto("/fuse?prompt=an+eagle&mode=base")
    page.evaluate("history.replaceState({ drawn: [] }, '')")
    page.reload()
    expect(page).to_have_url(re.compile(r"/fuse\?prompt=an\+eagle&mode=base$"))
    assert page.evaluate("history.state") == {"drawn": []}
    assert page.locator("#chosen > li").count() == 0
    assert put_aside(page) == [(other, 1)]


def test_what_a_browser_has_no_room_for_is_in_the_tray_of_the_page(page: Page, other: int) -> None:
    full = "() => { Storage.prototype.setItem = () => { throw new DOMException('full'); }; }"
    page.evaluate(full)
    another = page.locator(".card input[name=adapter]:not(:checked)").first.input_value()
    box = page.locator(f".card input[name=adapter][value='{another}']")
    box.click()

    assert [id_ for id_, _ in put_aside(page)] == [other, int(another)]
    expect(box).to_be_checked()


# A narrow phone, and a desk whose page is enlarged four times: WCAG 1.4.10.
@pytest.mark.parametrize("height", [640, 256])
def test_a_full_tray_covers_nothing_that_has_the_focus(page: Page, height: int) -> None:
    page.set_viewport_size({"width": 320, "height": height})
    page.goto("/?q=eagle")
    free = page.locator(".card input[name=adapter]:not(:checked)").first
    for _ in range(5):
        free.check()
    page.locator(".search input").focus()

    covered = []
    for _ in range(60):
        page.keyboard.press("Tab")
        covered.append(page.evaluate(COVERED))
    assert covered == [False] * 60

    free.click()
    expect(page.locator("#tray [role=alert]")).to_be_in_viewport()
