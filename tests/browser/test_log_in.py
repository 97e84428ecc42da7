"""The way in for a browser on another machine."""

from collections.abc import Iterator
from copy import copy

import pytest
from playwright.sync_api import Browser, Page, expect

from registry.api.app import create_app
from registry.service import Registry
from registry.token_scopes import TokenScope
from tests.browser.looking import HEIGHT, violations, widths_that_overflow
from tests.browser.test_finding import drop
from tests.registry.api.servers import served


@pytest.fixture(scope="module")
def guarded(demo: Registry) -> Iterator[str]:
    """The demo's adapters behind a server that wants tokens."""
    registry = copy(demo)
    registry.settings = demo.settings.model_copy(update={"require_tokens": True})
    with served(create_app(registry)) as (host, port):
        yield f"http://{host}:{port}"


@pytest.fixture
def visitor(browser: Browser, guarded: str) -> Iterator[Page]:
    with browser.new_context(base_url=guarded, locale="en-GB") as context:
        yield context.new_page()


def test_a_person_logs_in_by_keyboard_and_out_again(visitor: Page, demo: Registry) -> None:
    """The token is read only, so nothing leads to what it does not open."""
    visitor.goto("/?q=eagle")
    visitor.keyboard.type("a guess")
    visitor.keyboard.press("Enter")
    visitor.get_by_role("alert").wait_for()
    refused = violations(visitor)
    visitor.keyboard.type(demo.create_token("ann", [TokenScope.READ]))
    visitor.keyboard.press("Enter")

    visitor.get_by_role("button", name="Log out").wait_for()
    assert visitor.url.endswith("/?q=eagle")
    assert not visitor.get_by_role("link", name="Fuse", exact=True).count()
    assert refused == violations(visitor) == []
    assert widths_that_overflow(visitor) == {}
    visitor.get_by_role("button", name="Log out").click()
    visitor.wait_for_url("**/login")
    visitor.goto("/")
    assert "/login?next=" in visitor.url


def enter(visitor: Page, token: str) -> None:
    visitor.get_by_label("Token").fill(token)
    visitor.keyboard.press("Enter")
    visitor.get_by_role("button", name="Log out").wait_for()


def test_who_is_logged_out_meanwhile_is_led_to_the_log_in_and_back_to_what_was_typed(
    visitor: Page, demo: Registry
) -> None:
    token = demo.create_token("bob", [*TokenScope])
    visitor.goto("/fuse?prompt=an+eagle")
    enter(visitor, token)
    visitor.context.clear_cookies()

    visitor.get_by_role("button", name="Make the image").click()
    problem = visitor.locator("#problem")
    expect(problem).to_have_text("You are not logged in any more. Log in with a token")
    visitor.get_by_role("searchbox", name="Add an adapter").fill("fox")
    visitor.get_by_role("searchbox", name="Add an adapter").press("Enter")
    expect(visitor.locator("#refusal").get_by_role("link")).to_be_visible()
    drop(visitor, "recipe.json", "application/json", b"{}")
    expect(visitor.locator("#no-picture").get_by_role("link")).to_be_visible()
    assert violations(visitor) == []

    visitor.get_by_role("textbox", name="Prompt", exact=True).fill("a lone eagle")
    problem.get_by_role("link").click()
    enter(visitor, token)
    expect(visitor.get_by_role("textbox", name="Prompt", exact=True)).to_have_value("a lone eagle")


@pytest.mark.parametrize(
    ("name", "colours", "width"), [("Log in", "light", 1280), ("登录", "dark", 320)]
)
def test_the_log_in_in_both_languages(visitor: Page, name: str, colours: str, width: int) -> None:
    visitor.set_viewport_size({"width": width, "height": HEIGHT})
    visitor.emulate_media(color_scheme="dark" if colours == "dark" else "light")
    visitor.goto(f"/login?lang={'en' if name == 'Log in' else 'zh'}")

    assert visitor.get_by_role("button", name=name, exact=True).count() == 1
    assert visitor.get_by_role("heading", name=name).count() == 1
    assert violations(visitor) == []
    assert widths_that_overflow(visitor) == {}
