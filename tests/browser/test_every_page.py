"""What holds for each page, whatever it is for."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Route, expect
from sqlalchemy import select, update

from registry.db.models import Adapter, Caption
from registry.service import Registry
from tests.browser.looking import HEIGHT, violations, widths_that_overflow, words

# By what they show; {eagle} is an adapter, {drawn} an image, {other} another.
PAGES = {
    "landing": "/",
    "found": "/?q=eagle",
    "browsing": "/?author=quietfox&sort=name",
    "nothing passes": "/?author=quietfox&min_rank=999",
    "more like this": "/?like={eagle}",
    "adapter": "/adapters/{eagle}",
    "fuse": "/fuse?adapter={eagle}&prompt=an+eagle",
    "status": "/status",
    "images": "/images",
    "image": "/images/{drawn}",
    "comparison": "/images/compare?image={drawn}&image={other}",
    "folders": "/folders",
    "copies": "/folders/copies",
    "error": "/adapters/999999",
}
pages = pytest.mark.parametrize("path", PAGES.values(), ids=list(PAGES))
HAN = re.compile("[\u3400-\u9fff]")
LATIN = re.compile("[a-z]{3,}")
# Names and keys, which are the same everywhere.
NAMES = {
    "alpha", "alt", "autov", "ctrl", "demo", "diffusers", "english", "enter", "esc", "home",
    "kohya", "loras",
    "lora", "modelscope", "peft", "ridge",
    "safetensors", "scripts", "sha", "toolkit", "transformer", "utc",
}  # fmt: skip


@pytest.fixture(scope="package")
def foreign(demo: Registry) -> set[str]:
    """Latin words that the hub's authors wrote, or that hashes and addresses are made of."""
    with demo.sessions() as session:
        adapters = session.scalars(select(Adapter)).all()
        told = [repr(vars(adapter)) for adapter in adapters]
        told += session.scalars(select(Caption.text)).all()
    return set(LATIN.findall(" ".join(told).lower()))


@pages
def test_a_page_in_english_and_light(
    page: Page, path: str, eagle: int, drawn: int, drawn_otherwise: int
) -> None:
    """And what it waits for before it is painted is there."""
    answer = page.goto(path.format(eagle=eagle, drawn=drawn, other=drawn_otherwise))

    assert answer is not None
    # A page that says what went wrong would pass all that follows.
    assert answer.status == (404 if path == PAGES["error"] else 200)
    awaited = page.locator("link[rel=expect]").get_attribute("href")
    assert awaited
    assert page.locator(awaited).count() == 1
    assert widths_that_overflow(page) == {}  # ends at a desk's width
    assert violations(page) == []


@pages
def test_a_page_in_chinese_and_dark_on_a_phone(
    page: Page, path: str, eagle: int, drawn: int, drawn_otherwise: int, foreign: set[str]
) -> None:
    page.set_viewport_size({"width": 320, "height": HEIGHT})
    page.emulate_media(color_scheme="dark")
    page.goto(path.format(eagle=eagle, drawn=drawn, other=drawn_otherwise))
    page.get_by_role("link", name="中文").click()

    assert page.locator("html").get_attribute("lang") == "zh-Hans"
    said = " ".join(text for text in words(page) if not HAN.search(text))
    assert set(LATIN.findall(said.lower())) - foreign - NAMES == set()
    # What is only heard has Chinese signs, too.
    heard = "elements => elements.map((one) => one.getAttribute('aria-label') ?? one.textContent)"
    assert ": " not in " ".join(page.eval_on_selector_all("[aria-label], .hidden", heard))
    assert violations(page) == []
    assert widths_that_overflow(page) == {}


def test_the_dark_is_dark(page: Page) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto("/")

    paper, ink = (
        page.evaluate(f"getComputedStyle(document.body).{name}")
        for name in ("backgroundColor", "color")
    )
    assert brightness(paper) < 50 < 200 < brightness(ink)


def brightness(colour: str) -> float:
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3


def test_the_api_is_described_here(page: Page) -> None:
    """Swagger UI draws it, from this server alone."""
    page.goto("/docs")

    by_get_and_by_post = page.get_by_role("link", name="/v1/search", exact=True)
    by_get_and_by_post.nth(1).wait_for()


@pytest.mark.parametrize("path", ["/?q=eagle", "/adapters/{eagle}", "/fuse?adapter={eagle}"])
def test_no_button_waits_for_scripts_where_there_are_none(
    browser: Browser, address: str, path: str, eagle: int
) -> None:
    """Each one that is seen sends its form."""
    with browser.new_context(base_url=address, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(path.format(eagle=eagle))

        seen = [one for one in page.get_by_role("button").all() if one.is_visible()]

        assert seen
        assert [one.inner_text() for one in seen if one.get_attribute("type") == "button"] == []


def test_a_form_is_sent_once_until_its_answer_has_had_its_time(page: Page, drawn: int) -> None:
    """Where the answer takes long, people press again, which would have the same done twice."""
    asked: list[str] = []

    # Which leaves the page where it is, as a download does.
    def answer_nothing(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(status=204)

    page.clock.install()
    page.route("**/again", answer_nothing)
    page.goto(f"/images/{drawn}")

    def press_twice() -> int:
        asked.clear()
        for _ in range(2):
            page.get_by_role("button", name="Draw it again").click()
            page.evaluate("fetch('/healthz').then((answer) => answer.text())")
        return len(asked)

    assert press_twice() == 1
    assert press_twice() == 0
    # As a browser says that brings a page back.
    page.evaluate("dispatchEvent(new Event('pageshow'))")
    assert press_twice() == 1
    page.clock.fast_forward("01:00")
    assert press_twice() == 1


# Where on the page a text stands that is part of another.
LEFT = """([place, text]) => {
    const walk = document.createTreeWalker(document.querySelector(place), NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const start = walk.currentNode.nodeValue.indexOf(text);
        if (start < 0) continue;
        const range = new Range();
        range.setStart(walk.currentNode, start);
        range.setEnd(walk.currentNode, start + text.length);
        return range.getBoundingClientRect().left;
    }
    throw new Error(`no ${text} in ${place}`);
}"""


@pytest.fixture
def hebrew_eagle(demo: Registry, eagle: int) -> Iterator[int]:
    """An adapter all whose names are read from the right."""
    with demo.sessions.begin() as session:
        before = session.get_one(Adapter, eagle)
        names = {"name": before.name, "repo": before.repo, "version": before.version}

    def call(**names: str) -> None:
        with demo.sessions.begin() as session:
            session.execute(update(Adapter).where(Adapter.id == eagle).values(**names))

    call(name="נשר (2)", repo="דוד/נשר", version="101")
    yield eagle
    call(**names)


def test_what_is_read_from_the_right_turns_nothing_beside_it(
    page: Page, hebrew_eagle: int, drawn: int
) -> None:
    def stand_in_order(place: str, *texts: str) -> None:
        lefts = [page.evaluate(LEFT, [place, text]) for text in texts]
        assert lefts == sorted(lefts), (place, texts)

    page.goto(f"/adapters/{hebrew_eagle}")
    # Within it, what comes last stands left.
    stand_in_order("h1", "2", "נשר")
    stand_in_order(".facts", "דוד", "101")
    page.goto(f"/images/{drawn}")
    page.evaluate("document.querySelector('.result .facts a').textContent = 'נשר'")
    stand_in_order(".facts .break:has(a)", "נשר", "1")


def test_on_paper_a_recipe_is_whole_and_there_is_nothing_to_press(page: Page, drawn: int) -> None:
    page.goto(f"/images/{drawn}")
    page.emulate_media(media="print")

    recipe = page.locator("pre", has_text='"prompt": "an eagle"')
    box = recipe.bounding_box()
    assert box is not None
    assert round(box["height"]) == recipe.evaluate("pre => pre.scrollHeight") > 360
    for pressed in page.locator("button, .button, nav a").all():
        expect(pressed).to_be_hidden()
