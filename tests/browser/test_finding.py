"""From words and pictures to adapters, as a person goes."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from demo.paths import DATA
from registry.api.schemas.fuse import RECIPE
from registry.service import Registry


def search(page: Page, words: str) -> None:
    page.goto("/")
    page.get_by_role("searchbox").fill(words)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"\?q="))


def names(page: Page) -> list[str]:
    return page.locator(".card h3").all_inner_texts()


def facet(page: Page, name: str) -> Locator:
    return page.get_by_role("complementary").locator("section").filter(has=page.get_by_text(name))


@pytest.mark.parametrize(
    ("words", "first"),
    [("eagle", "鹰"), ("黑色剪影", "Monochrome Black Silhouette Mammals LoRA")],
)
def test_what_is_named_in_one_language_is_found_in_the_other(
    page: Page, words: str, first: str
) -> None:
    search(page, words)

    assert first in names(page)[:2]
    assert page.locator("h2.band").all_inner_texts()[0] == "Fits"


def test_bands_come_in_their_order(page: Page) -> None:
    search(page, "eagle")

    bands = page.locator("h2.band").all_inner_texts()
    order = ["Fits", "Perhaps", "Probably not these"]
    assert bands == [band for band in order if band in bands]
    assert len(bands) >= 2


def test_a_facet_narrows_by_as_many_as_it_says_and_is_taken_back(page: Page) -> None:
    page.goto("/")
    everything = page.locator(".found h2").first.inner_text()
    link = facet(page, "Author").get_by_role("link", name=re.compile("quietfox"))
    count = link.locator(".count").inner_text()
    link.click()

    expect(page.locator(".found h2").first).to_have_text(f"{count} adapters")
    assert set(page.locator(".card p.line").all_inner_texts()) == {"by quietfox"}
    page.get_by_role("link", name="Author: quietfox").click()
    expect(page.locator(".found h2").first).to_have_text(everything)


def test_a_size_that_is_mistyped_is_mended_where_it_was_typed(page: Page) -> None:
    page.goto("/")
    page.get_by_text("More filters").click()
    size = page.get_by_label("Size from")
    size.fill("big")
    page.get_by_role("button", name="Apply").click()
    expect(size).to_be_focused()
    assert page.url.endswith("/")

    size.fill("1.5 kb")
    page.get_by_role("button", name="Apply").click()
    page.wait_for_url("**min_size=1.5+kb**")
    expect(page.locator(".card").first).to_be_visible()


def test_pages_go_through_every_adapter_once(page: Page, demo: Registry) -> None:
    page.goto("/?sort=name")
    seen = names(page)
    page.get_by_role("link", name="Next page").click()
    page.wait_for_url(re.compile("cursor="))
    seen += names(page)

    assert len(seen) == demo.count().count
    assert page.get_by_role("link", name="Next page").count() == 0
    page.get_by_role("link", name="First page").click()
    expect(page.locator(".card h3").first).to_have_text(seen[0])


def test_an_adapter_leads_to_others_like_it_and_to_its_file(
    page: Page, demo: Registry, eagle: int
) -> None:
    page.goto(f"/adapters/{eagle}")
    with page.expect_download() as started:
        page.get_by_role("link", name=re.compile("^Download")).click()
    sha256 = hashlib.sha256(Path(started.value.path()).read_bytes()).hexdigest()
    assert sha256 == demo.adapter(eagle).card.file_sha256

    other = page.locator("section", has_text="Similar weights").locator(".card h3 a").first
    name = other.inner_text()
    other.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)


def test_trigger_words_are_copied(page: Page, demo: Registry, eagle: int) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"/adapters/{eagle}")
    page.locator("dd", has_text="eagle icon").get_by_role("button", name="Copy").first.click()

    expect(page.get_by_role("button", name="Copied").first).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "eagle icon"


def test_a_recipe_is_copied_over_plain_http_where_one_is(page: Page, drawn: int) -> None:
    """Pages have no clipboard there. Who hears the page is spared to hear all that is copied."""
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.set_viewport_size({"width": 1280, "height": 300})
    page.goto(f"/images/{drawn}")
    button = page.locator("[data-copy]").first
    button.scroll_into_view_if_needed()
    scrolled = page.evaluate("scrollY")
    button.click()

    expect(button).to_be_focused()
    assert page.evaluate("scrollY") == scrolled
    expect(page.locator("#said")).to_have_text("Copied")
    page.goto("/fuse")
    prompt = page.get_by_role("textbox", name="Prompt", exact=True)
    prompt.press("Control+V")
    # Where it is pasted, it fills in how the image was made.
    expect(prompt).to_have_value("an eagle")


def test_what_could_not_be_copied_is_not_said_to_be(page: Page, eagle: int) -> None:
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.add_init_script("document.execCommand = () => false")
    page.goto(f"/adapters/{eagle}")
    button = page.locator("[data-copy]").first
    button.click()

    expect(button).to_contain_text("Not copied")
    expect(page.locator("#said")).to_contain_text("Not copied")
    # And the button can be pressed again.
    expect(button).to_contain_text("Copy")


@pytest.fixture(scope="package")
def cover_of_the_eagle(demo: Registry, eagle: int) -> Path:
    file = Path(demo.adapter(eagle).card.file_name).stem
    return DATA / f"zoo/covers/{file}-0.webp"


def test_a_picture_finds_the_adapter_whose_cover_it_is(
    page: Page, cover_of_the_eagle: Path
) -> None:
    page.goto("/")
    page.get_by_text("Search by a picture").click()
    page.get_by_label("A picture or a recipe: choose one").set_input_files(cover_of_the_eagle)
    page.get_by_role("button", name="Find its adapters").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Adapters of a picture or recipe")
    assert names(page)[0] == "鹰"
    expect(page.locator(".card").first).to_contain_text("a cover looks the same")


DROP = """async ([names, type, bytes]) => {
    const data = new DataTransfer();
    for (const name of names) data.items.add(new File([new Uint8Array(bytes)], name, { type }));
    const [over, drop] = ["dragover", "drop"].map((name) => new DragEvent(
        name, { bubbles: true, cancelable: true, dataTransfer: data }));
    document.body.dispatchEvent(over);
    document.body.dispatchEvent(drop);
    // Where nobody takes it, a browser leaves the page to show it.
    return drop.defaultPrevented;
}"""


def drop(page: Page, name: str, kind: str, data: bytes) -> None:
    assert page.evaluate(DROP, [[name], kind, list(data)])


PASTE = """(text) => {
    const data = new DataTransfer();
    data.setData("text/plain", text);
    const paste = new ClipboardEvent(
        "paste", { bubbles: true, cancelable: true, clipboardData: data });
    document.activeElement.dispatchEvent(paste);
    return paste.defaultPrevented;
}"""


PASTE_WITH_PICTURE = """([text, name]) => {
    const data = new DataTransfer();
    if (text) data.setData("text/plain", text);
    data.items.add(new File(["no picture"], name, { type: "image/png" }));
    const paste = new ClipboardEvent(
        "paste", { bubbles: true, cancelable: true, clipboardData: data });
    window.submitted = 0;
    HTMLFormElement.prototype.submit = () => { window.submitted += 1; };
    document.activeElement.dispatchEvent(paste);
    return [paste.defaultPrevented, window.submitted];
}"""


@pytest.mark.parametrize(
    ("text", "is_typing", "is_taken"),
    [
        ("paper\tfox", True, False),
        ("paper\tfox", False, True),
        ("", True, True),
        # As file managers name what they copy.
        ("/home/ann/fox.png", True, True),
    ],
)
def test_text_is_pasted_as_text_whatever_picture_comes_with_it(
    page: Page, text: str, is_typing: bool, is_taken: bool
) -> None:
    """Spreadsheets copy a picture of their cells beside them; who typed would lose it."""
    page.goto("/")
    box = page.get_by_role("searchbox").first
    box.focus()
    if not is_typing:
        box.blur()

    assert page.evaluate(PASTE_WITH_PICTURE, [text, "fox.png"]) == [is_taken, int(is_taken)]


@pytest.mark.parametrize("is_pasted", [True, False])
def test_a_copied_recipe_fills_in_what_it_was_drawn_with(
    page: Page, demo: Registry, eagle: int, is_pasted: bool
) -> None:
    used = {"name": "x", "sha256": demo.adapter(eagle).card.file_sha256, "strength": 0.7}
    recipe = json.dumps(RECIPE | {"prompt": "a lone eagle", "adapters": [used]})
    page.goto("/fuse")
    if is_pasted:
        assert not page.evaluate(PASTE, '{"a": "fox"}')
        assert page.evaluate(PASTE, recipe)
    else:
        drop(page, "recipe.json", "", recipe.encode())

    expect(page).to_have_url(
        re.compile(rf"/fuse\?prompt=a.lone.eagle&adapter={eagle}&strength=0.7")
    )


@pytest.mark.parametrize("path", ["/", "/images", "/status", "/adapters/{eagle}"])
def test_a_picture_is_dropped_on_any_page(
    page: Page, path: str, eagle: int, cover_of_the_eagle: Path
) -> None:
    page.goto(path.format(eagle=eagle))
    drop(page, "cover.webp", "image/webp", cover_of_the_eagle.read_bytes())

    expect(page.get_by_role("heading", level=1)).to_have_text("Adapters of a picture or recipe")
    assert names(page)[0] == "鹰"


# A picture of the page is taken hold of, or let go.
DRAG = """(name) => document.querySelector(".brand img").dispatchEvent(
    new DragEvent(name, { bubbles: true, cancelable: true }))"""


@pytest.mark.parametrize("path", ["/", "/folders"])
def test_a_picture_of_the_page_itself_is_not_taken_for_one_that_is_dropped(
    page: Page, path: str
) -> None:
    """Browsers list it among the files that are dragged."""
    page.route("**/v1/folders/files*", lambda route: route.fulfill(status=202, json={}))
    page.goto(path)
    page.evaluate(DRAG, "dragstart")
    assert not page.evaluate(DROP, [["icon.svg"], "image/svg+xml", [60]])

    page.evaluate(DRAG, "dragend")
    drop(page, "fox.txt", "text/plain", b"x")


@pytest.mark.parametrize("path", ["/", "/fuse"])
def test_what_is_dropped_and_no_picture_is_refused_where_one_is(page: Page, path: str) -> None:
    page.goto(path)
    drop(page, "fox.safetensors", "", b"x")

    expect(page.get_by_role("alert").first).to_contain_text("fox.safetensors is no picture")
    expect(page.get_by_role("alert").first).to_contain_text("“My files”")
    assert page.url.endswith(path)


def test_larger_covers_lie_over_no_click(page: Page) -> None:
    """They are shown over the next tile, to which a mouse may be on its way."""
    page.goto("/")
    first, second = (page.locator(".card").nth(place) for place in (0, 1))
    link = second.locator("h3 a").get_attribute("href")
    first.locator(".picture").first.hover()
    expect(page.locator(".preview")).to_be_visible()
    box = second.bounding_box()
    assert box is not None
    x, y = box["x"] + 80, box["y"] + 80
    covered = "([x, y]) => Boolean(document.elementFromPoint(x, y).closest('.preview'))"
    assert page.evaluate(covered, [x, y])

    page.mouse.click(x, y)

    page.wait_for_url(f"**{link}*")


def test_text_is_dropped_into_the_field_below_and_files_are_read(page: Page) -> None:
    page.goto("/")
    drop = """type => {
        const dataTransfer = new DataTransfer();
        if (type === "Files") dataTransfer.items.add(new File(["x"], "x.txt"));
        else dataTransfer.setData(type, "a fox");
        const event = new DragEvent("dragover", { dataTransfer, bubbles: true, cancelable: true });
        document.querySelector("[name=q]").dispatchEvent(event);
        return event.defaultPrevented;
    }"""

    assert page.evaluate(drop, "Files")
    assert not page.evaluate(drop, "text/plain")
