"""What the page makes of requests that are refused, that get lost, or that a proxy answers."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.test_finding import drop

TOO_LARGE = "<html><h1>413 Request Entity Too Large</h1></html>"
NO_REASON = "A proxy or the server answered 413, without a reason."


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A window that may say in its console that a request failed; its scripts may not fail."""
    with browser.new_context(base_url=address, locale="en-GB") as context:
        page = context.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        yield page
        assert problems == []


def by_a_proxy(route: Route) -> None:
    route.fulfill(status=413, content_type="text/html", body=TOO_LARGE)


def test_each_file_that_a_proxy_refuses_says_so(page: Page) -> None:
    page.route("**/v1/folders/files*", by_a_proxy)
    page.goto("/folders")
    names = ("one.safetensors", "two.safetensors")
    page.locator("#drop input").set_input_files(
        [{"name": name, "mimeType": "", "buffer": b"x"} for name in names]
    )

    expect(page.locator("#sending li")).to_have_text([f"{name}: {NO_REASON}" for name in names])


def test_a_recipe_that_a_proxy_refuses_says_so(page: Page) -> None:
    page.route("**/v1/search/picture", by_a_proxy)
    page.goto("/fuse")
    drop(page, "recipe.json", "application/json", b"{}")

    expect(page.get_by_role("alert").first).to_have_text(NO_REASON)


@pytest.mark.parametrize(
    ("language", "said"),
    [("en", NO_REASON), ("zh", "代理或服务器返回 413，未说明原因。")],
)
def test_what_a_proxy_answers_is_no_reason_that_is_shown(
    page: Page, language: str, said: str
) -> None:
    page.route("**/v1/images", by_a_proxy)
    page.route("**/v1/search?*", by_a_proxy)
    page.goto(f"/fuse?prompt=an+eagle&lang={language}")
    page.locator("#fuse .primary").click()
    expect(page.locator("#problem")).to_have_text(said)

    page.locator("#find-text").fill("fox")
    page.locator("#find-text").press("Enter")
    expect(page.locator("#refusal")).to_have_text(said)
