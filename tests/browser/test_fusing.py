"""An image, drawn by the demo's base to its end."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from registry.fusion.recipe import read_recipe
from tests.browser.looking import violations, widths_that_overflow
from tests.browser.test_finding import drop


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
    # Nor does another language.
    page.get_by_role("link", name="中文").click()
    page.get_by_role("link", name="保存 PNG").wait_for()
    expect(page.get_by_label("反向提示词")).to_have_value("text")
    page.get_by_role("link", name="English").click()
    page.get_by_role("link", name="Save PNG").wait_for()
    # What a recipe says is long, and goes nowhere beyond the window.
    page.locator("summary", has_text=re.compile("^Recipe$")).click()
    assert violations(page) == []
    assert widths_that_overflow(page) == {}


def test_a_reload_keeps_a_prompt_that_is_being_typed_and_how_many_are_chosen_for_it(
    page: Page,
) -> None:
    page.goto("/fuse")
    page.get_by_label("At most").select_option("1")
    prompt = page.get_by_role("textbox", name="Prompt", exact=True)
    prompt.press_sequentially("an eagle")
    expect(page).to_have_url(re.compile(r"\?(?=.*\bk=1\b).*prompt=an\+eagle"))
    expect(prompt).to_be_focused()

    page.reload()
    expect(prompt).to_have_value("an eagle")
    expect(page.get_by_label("At most")).to_have_value("1")


def test_two_images_are_compared_by_slider_and_by_dragging_on_them(
    page: Page, drawn: int, drawn_otherwise: int
) -> None:
    page.goto("/images")
    compare = page.get_by_role("button", name="Compare two images")
    expect(compare).to_be_disabled()
    for image in (drawn, drawn_otherwise):
        page.get_by_label(f"Select image {image}", exact=True).check()
    compare.click()

    slider = page.get_by_role("slider")
    over = page.locator(".compare .over")
    slider.press("End")
    expect(over).to_have_css("clip-path", "inset(0px 0px 0px 100%)")
    slider.press("ArrowLeft")
    expect(slider).to_have_value("99")
    layers = page.locator(".layers")
    layers.scroll_into_view_if_needed()
    box = layers.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 40)
    page.mouse.up()
    page.mouse.move(box["x"] + 1, box["y"] + 1)
    expect(slider).to_have_value("25")
    expect(over).to_have_css("clip-path", "inset(0px 0px 0px 25%)")
    expect(page.locator(".differences tbody tr")).to_have_text([re.compile("Seed")])


def test_a_picture_that_is_dropped_fills_the_page_that_fuses(
    page: Page, address: str, eagle: int, drawn: int
) -> None:
    picture = page.request.get(f"{address}/v1/images/{drawn}/png").body()
    page.goto("/fuse?prompt=something+else")
    drop(page, "fused.png", "image/png", picture)

    page.wait_for_url("**adapter=**")
    expect(page.get_by_role("textbox", name="Prompt", exact=True)).to_have_value("an eagle")
    expect(page.get_by_label("Seed", exact=True)).to_have_value("1")
    expect(page.locator("#chosen > li")).to_have_count(1)


def test_adapters_that_were_chosen_take_the_focus_from_the_button_that_goes(page: Page) -> None:
    page.goto("/fuse")
    page.get_by_role("textbox", name="Prompt", exact=True).fill("a red heart")
    page.get_by_role("button", name="Choose now").click()

    expect(page.locator("#chosen a").first).to_be_focused()


def test_what_is_added_says_where_it_hardly_fits(page: Page) -> None:
    page.goto("/fuse")
    box = page.get_by_role("searchbox", name="Add an adapter")
    near = page.locator("#chooser").get_by_text("Nothing fits “qqqzzzx”.")
    box.fill("qqqzzzx")
    box.press("Enter")
    expect(near).to_be_visible()
    expect(page.locator("#said")).to_contain_text("Nothing fits “qqqzzzx”.")

    box.fill("eagle")
    box.press("Enter")
    expect(page.get_by_role("button", name="Add 鹰")).to_be_visible()
    expect(near).to_be_hidden()


@pytest.mark.parametrize("meanwhile", ["another search", "cancelled"])
def test_what_is_found_too_late_is_not_shown(page: Page, eagle: int, meanwhile: str) -> None:
    """Nor what was found to stand in for another, once it is not wanted: *Add* would add it."""
    held: list[Route] = []
    page.route("**/v1/search?q=%E9%B9%B0*", lambda route: held.append(route))
    page.goto(f"/fuse?adapter={eagle}")
    with page.expect_request("**/v1/search?*"):
        page.get_by_role("button", name="Replace 鹰").click()
    if meanwhile == "cancelled":
        page.get_by_role("button", name="Cancel").click()
    else:
        box = page.get_by_role("searchbox", name="Instead of 鹰")
        box.fill("black silhouette")
        box.press("Enter")
        expect(page.locator("#found li").first).to_be_visible()
    found = page.locator("#found li").all_inner_texts()

    nothing = {"fits": True, "results": [], "found": {}}
    held[0].fulfill(json=nothing)
    page.evaluate("fetch('/healthz').then((answer) => answer.text())")
    expect(page.locator("#refusal")).to_be_hidden()
    assert page.locator("#found li").all_inner_texts() == found


def test_who_cancels_a_replacement_is_left_in_the_search_box(page: Page, eagle: int) -> None:
    """The button that was pressed is gone."""
    page.goto(f"/fuse?adapter={eagle}")
    page.get_by_role("button", name="Replace 鹰").click()
    page.get_by_role("button", name="Cancel").click()

    expect(page.get_by_role("searchbox", name="Add an adapter")).to_be_focused()


@pytest.mark.parametrize("key", ["Enter", "Escape"])
def test_keys_of_an_input_method_neither_search_nor_end_it(
    page: Page, eagle: int, key: str
) -> None:
    """They choose among its words, or put them away; Safari tells by the code alone."""
    page.goto(f"/fuse?adapter={eagle}")
    page.get_by_role("button", name="Replace 鹰").click()
    expect(page.locator("#found li").first).to_be_visible()
    box = page.locator("#find-text")
    box.fill("jianying")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for sign in ({"isComposing": True}, {"keyCode": 229}):
        box.dispatch_event("keydown", {"key": key, **sign})

    page.evaluate("fetch('/healthz').then((answer) => answer.text())")
    expect(box).to_have_value("jianying")
    assert [url for url in asked if "search" in url] == []
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()


def test_what_is_done_with_ticked_images_is_in_sight(
    page: Page, drawn: int, drawn_otherwise: int
) -> None:
    """However many images are below them."""
    page.set_viewport_size({"width": 1280, "height": 300})
    page.goto("/images")
    compare = page.get_by_role("button", name="Compare")
    expect(compare).not_to_be_in_viewport()

    for image in (drawn, drawn_otherwise):
        page.get_by_label(f"Select image {image}", exact=True).check()
        page.evaluate("scrollTo(0, 0)")
        expect(compare).to_be_in_viewport()


def test_each_image_is_stopped_by_its_own_button_and_keeps_the_focus(
    page: Page, eagle: int
) -> None:
    page.goto(f"/fuse?adapter={eagle}&prompt=an+eagle&steps=100&count=2")
    page.get_by_role("button", name="Make the image").click()
    places = page.locator("#drawn li")
    expect(places).to_have_count(2)
    numbers = [place.get_attribute("data-image") for place in places.all()]

    for place, number in zip(places.all(), numbers, strict=True):
        place.get_by_role("button", name=f"Stop: Image {number}", exact=True).click()
        expect(place.locator("[data-status]")).to_have_text("Stopped.")
        expect(place.locator("[data-status]")).to_be_focused()

    for number in numbers:
        assert page.request.delete(f"/v1/images/{number}").ok


def test_who_stops_an_image_in_vain_is_told_why(browser: Browser, address: str) -> None:
    image = {"id": 999, "state": "waiting", "ahead": 0, "done": 0, "total": 0, "finished_at": None}
    # Of its own: the browser says in its console that a request was refused.
    with browser.new_context(base_url=address, locale="en-GB") as context:
        page = context.new_page()
        page.route("**/v1/images", lambda route: route.fulfill(status=202, json={"items": [image]}))
        page.route("**/events", lambda route: None)
        busy = {"detail": "the database does not keep up"}
        page.route("**/cancel", lambda route: route.fulfill(status=503, json=busy))
        page.goto("/fuse?prompt=an+eagle")
        page.get_by_role("button", name="Make the image").click()
        page.get_by_role("button", name="Stop").click()

        expect(page.locator("#problem")).to_have_text("the database does not keep up")


# Counts what is asked to be drawn, which nothing does.
COUNTED = """
window.asked = 0;
const ask = window.fetch;
window.fetch = (path, sent) => {
  if (path !== "/v1/images") return ask(path, sent);
  window.asked += 1;
  return new Promise((resolve, reject) => { if (%s) reject(new TypeError()); });
};
"""


@pytest.mark.parametrize("is_held", [True, False])
def test_keys_that_are_pressed_again_too_soon_draw_one_image(page: Page, is_held: bool) -> None:
    page.add_init_script(COUNTED % ("true" if is_held else "false"))
    page.goto("/fuse?prompt=an+eagle")
    button = page.get_by_role("button", name="Make the image")
    page.keyboard.down("Control")
    page.keyboard.down("Enter")
    if is_held:
        expect(page.locator("#problem")).to_be_visible()
        expect(button).to_be_enabled()
    else:
        expect(button).to_be_disabled()
        page.keyboard.up("Enter")
    page.keyboard.down("Enter")

    assert page.evaluate("asked") == 1


def test_keys_that_draw_leave_the_focus_where_it_was(page: Page) -> None:
    """On the button, the next space of who types on would draw again."""
    page.add_init_script(COUNTED % "true")
    page.goto("/fuse?prompt=an+eagle")
    button = page.get_by_role("button", name="Make the image")
    prompt = page.get_by_role("textbox", name="Prompt", exact=True)
    prompt.press("End")
    prompt.press("Control+Enter")
    expect(page.locator("#problem")).to_be_visible()
    expect(button).to_be_enabled()
    page.keyboard.press("Space")

    expect(prompt).to_have_value("an eagle ")
    assert page.evaluate("asked") == 1
    button.press("Enter")
    expect(button).to_be_enabled()
    expect(button).to_be_focused()


def test_adapters_are_chosen_once_however_often_that_is_asked_for(page: Page) -> None:
    """Chosen twice, they would be refused as being there already."""
    asked = answered_late(page, "**/v1/choose?*")
    page.goto("/fuse?prompt=a+red+heart")
    page.get_by_role("button", name="Choose now").dblclick()

    expect(page.locator("#chosen a").first).to_be_focused()
    expect(page.locator("#refusal")).to_be_hidden()
    assert len(asked) == 1


def answered_late(page: Page, path: str) -> list[str]:
    """Have a path answered after whatever is under way; return the addresses asked for."""
    asked: list[str] = []

    def answer(route: Route) -> None:
        asked.append(route.request.url)
        page.wait_for_timeout(500)
        route.continue_()

    page.route(path, answer)
    return asked


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("width", [320, 820, 1000, 1280])
def test_what_can_be_chosen_is_read_to_its_end(page: Page, width: int, language: str) -> None:
    """A list as wide as its words wish is no wider than it is."""
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"/fuse?lang={language}")

    for field in page.locator(".row select").all():
        given, wished = field.evaluate(
            """select => {
                const given = select.offsetWidth;
                select.style.width = "max-content";
                return [given, select.offsetWidth];
            }"""
        )
        assert wished <= given
