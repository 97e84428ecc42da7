"""What the page makes of requests that are refused, that get lost, or that a proxy answers."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, FilePayload, Page, Route, expect

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
        [FilePayload(name=name, mimeType="", buffer=b"x") for name in names]
    )

    expect(page.locator("#sending li")).to_have_text([f"{name}: {NO_REASON}" for name in names])


def test_a_file_that_is_lost_is_named_and_can_be_chosen_again(page: Page) -> None:
    page.route("**/v1/folders/files*", lost)
    page.goto("/folders")
    chosen = page.locator("#drop input")
    chosen.set_input_files([FilePayload(name="one.safetensors", mimeType="", buffer=b"x")])

    expect(page.locator("#sending li")).to_have_text(
        "one.safetensors: The connection to the registry was lost; see that it runs, then try "
        "again."
    )
    # A browser tells of no choice that is the one before.
    expect(chosen).to_have_value("")


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


IMAGE: dict[str, Any] = {
    "id": 999, "state": "waiting", "ahead": 0, "done": 0, "total": 0, "finished_at": None,
}  # fmt: skip
DONE = IMAGE | {"state": "done", "finished_at": "2026-03-01T03:00:12Z"}
# What the page waits for comes a hundred times sooner.
SOONER = """
const wait = window.setTimeout;
window.setTimeout = (then, milliseconds, ...rest) => wait(then, milliseconds / 100, ...rest);
"""
Answer = Callable[[Route], object]


def busy(route: Route) -> None:
    route.fulfill(status=503, json={"detail": "the database does not keep up"})


def lost(route: Route) -> None:
    route.abort()


def logged_out(route: Route) -> None:
    route.fulfill(status=401, json={"detail": "log in"})


def gone(route: Route) -> None:
    route.fulfill(status=404, json={"detail": "there is no image 999"})


def asked(route: Route) -> None:
    route.fulfill(status=202, json={"items": [IMAGE]})


def told(route: Route) -> None:
    route.fulfill(json=IMAGE)


def done(route: Route) -> None:
    body = f"event: done\ndata: {json.dumps(DONE)}\n\n"
    route.fulfill(content_type="text/event-stream", body=body)


def result(route: Route) -> None:
    route.fulfill(content_type="text/html", body='<a href="/images/999">Save PNG</a>')


def answers(page: Page, path: str, *each: Answer) -> list[str | None]:
    """Answer requests of a path, the last way from then on; return the keys that they had."""
    keys: list[str | None] = []

    def answer(route: Route) -> None:
        keys.append(route.request.headers.get("idempotency-key"))
        each[min(len(keys), len(each)) - 1](route)

    page.route(path, answer)
    return keys


@pytest.mark.parametrize(
    ("events", "facts", "results"),
    [
        ([busy, done], [told], [result]),
        ([busy, busy, done], [busy, lost, told], [result]),
        ([done], [told], [busy, result]),
        ([done], [told], [lost, result]),
    ],
)
def test_an_image_is_shown_though_the_server_was_too_busy_to_tell_of_it(
    page: Page, events: list[Answer], facts: list[Answer], results: list[Answer]
) -> None:
    page.add_init_script(SOONER)
    answers(page, "**/v1/images", asked)
    answers(page, "**/v1/images/999/events", *events)
    answers(page, "**/v1/images/999", *facts)
    answers(page, "**/images/999/result", *results)
    page.goto("/fuse?prompt=an+eagle")
    page.get_by_role("button", name="Make the image").click()

    expect(page.get_by_role("link", name="Save PNG")).to_be_visible()
    expect(page.locator("#drawn .bad")).to_have_count(0)


@pytest.mark.parametrize(
    ("events", "facts", "results"), [([gone], [gone], [gone]), ([done], [told], [gone])]
)
def test_an_image_that_is_gone_is_waited_for_no_more(
    page: Page, events: list[Answer], facts: list[Answer], results: list[Answer]
) -> None:
    """It may have been deleted on another page."""
    answers(page, "**/v1/images", asked)
    answers(page, "**/v1/images/999/events", *events)
    answers(page, "**/v1/images/999", *facts)
    answers(page, "**/images/999/result", *results)
    page.goto("/fuse?prompt=an+eagle")
    page.get_by_role("button", name="Make the image").click()

    place = page.locator("#drawn li")
    expect(place.locator("[data-status]")).to_have_text("there is no image 999")
    expect(place.get_by_role("button")).to_have_count(0)
    expect(place.get_by_role("progressbar")).to_have_count(0)


def test_a_request_whose_answer_was_lost_keeps_its_key_until_it_has_one(page: Page) -> None:
    """The server knows by it that nothing is to be drawn twice."""
    keys = answers(page, "**/v1/images", lost, busy, lost, asked)
    answers(page, "**/v1/images/999/events", busy)
    page.goto("/fuse?prompt=an+eagle")
    button = page.get_by_role("button", name="Make the image")

    def press() -> None:
        with page.expect_request("**/v1/images"):
            button.click()
        expect(button).to_be_enabled()

    press()
    press()
    page.get_by_label("Seed", exact=True).fill("7")
    press()
    press()
    expect(page.locator("#drawn li")).to_have_count(1)
    press()
    first, again, other, other_again, next_one = keys
    assert first == again
    assert other == other_again
    assert len({first, other, next_one}) == 3


def test_a_part_is_asked_for_until_the_server_has_time_and_no_more_by_who_is_logged_out(
    page: Page,
) -> None:
    page.add_init_script(SOONER)
    times = answers(page, "**/folders/events", busy, busy, lost, logged_out)
    with page.expect_response(lambda answer: answer.status == 401):
        page.goto("/folders")

    page.wait_for_timeout(500)
    assert len(times) == 4
