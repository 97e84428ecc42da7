"""A browser before a real server over adapters of the demo, once for all tests here.

Tests only read what is there, or take away again what they made.
"""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request

from benchmarks.page.browser import open_browser
from crawler.sources.modelscope import ModelScopeSource
from demo.hub import modelscope
from demo.paths import DATA
from demo.run import demo_settings
from registry.api.app import create_app
from registry.config import Settings
from registry.refresh.pipeline import Pipeline
from registry.service import Registry
from tests.databases import database_beside
from tests.registry.api.servers import served

# Of the demo's: more than one page of adapters, an eagle (鹰) among them, and two silhouettes.
AUTHORS = ("quietfox", "nightkiln", "pixelplum")


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    # Not for the whole session: while Playwright runs, nothing else can run an event loop here.
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="package")
def own_database(database_url: str) -> Iterator[str]:
    """A database beside that of other tests, which empty theirs."""
    with database_beside(database_url, "browser") as url:
        yield url


@pytest.fixture(scope="package")
def demo(own_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """What some authors of the demo made, crawled from its hub and indexed by its encoder."""
    home = tmp_path_factory.mktemp("browser") / "home"
    with pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            patch.delenv(f"REGISTRY_{name.upper()}", raising=False)
        patch.chdir(home.parent)  # away from any .env
        settings = demo_settings(home, port=0).model_copy(update={"database_url": own_database})
        with Registry(settings) as registry:
            index(registry)
            yield registry


def index(registry: Registry) -> None:
    pipeline = Pipeline(registry.sessions, registry.blobs, registry.settings, registry.text_encoder)
    with modelscope.serve(DATA / "zoo") as hub:
        hub.entries = [entry for entry in hub.entries if entry["owner"] in AUTHORS]
        with ModelScopeSource(hub.endpoint, name="demo") as source:
            for _ in pipeline.refresh(source):
                pass


@pytest.fixture(scope="package")
def address(demo: Registry) -> Iterator[str]:
    with served(create_app(demo)) as (host, port):
        yield f"http://{host}:{port}"


@pytest.fixture(scope="package")
def eagle(demo: Registry) -> int:
    """The adapter that draws an eagle, and is named in Chinese only."""
    return demo.search("eagle").results[0].card.id


@pytest.fixture(scope="package")
def drawn(address: str, eagle: int) -> int:
    """An image of the eagle, made by the base in as few steps as show nothing yet."""
    return draw(address, eagle, seed=1)


@pytest.fixture(scope="package")
def drawn_otherwise(address: str, eagle: int) -> int:
    return draw(address, eagle, seed=2)


def draw(address: str, eagle: int, seed: int) -> int:
    asked = {"prompt": "an eagle", "adapters": [{"id": eagle}], "steps": 2, "seed": seed}
    with httpx.Client(base_url=address, timeout=60) as client:
        image = client.post("/v1/images", json=asked).raise_for_status().json()["items"][0]["id"]
        # The answer ends when the image is finished.
        events = client.get(f"/v1/images/{image}/events").text
    assert "event: done" in events, events
    return int(image)


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """An English window of its own, in which nothing may go wrong unseen."""
    with browser.new_context(base_url=address, locale="en-GB") as context:
        page = context.new_page()
        problems: list[str] = []
        pages: set[str] = set()

        def on_request(request: Request) -> None:
            if request.is_navigation_request():
                pages.add(request.url)
            if not request.url.startswith((address, "data:", "blob:")):
                problems.append(f"asked another site: {request.url}")

        def on_console(said: ConsoleMessage) -> None:
            # What the content security policy forbids is said here too. That a page answers 404
            # is no fault of the page.
            if said.type in ("error", "warning") and said.location["url"] not in pages:
                problems.append(said.text)

        page.on("request", on_request)
        page.on("console", on_console)
        page.on("pageerror", lambda error: problems.append(str(error)))
        yield page
        assert problems == []
