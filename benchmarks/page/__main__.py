"""Pages as a browser tells of them: bytes, first and largest paint, how far they shifted.

    python -m benchmarks.page
    python -m benchmarks.page --screenshots    and the pictures of the docs, drawn anew

The registry is the demo's, indexed for this. Each page is opened several times by a browser that
has never been there; of times the median counts. docs/benchmarks/page.md has the figures. Wants
Chromium, see `make test`, and for the pictures a font with Chinese letters (Debian's
fonts-noto-cjk).
"""

import argparse
import statistics
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

from playwright.sync_api import Browser

from benchmarks.page.browser import NoBrowserError, open_browser
from benchmarks.page.measure import Figures, measure
from benchmarks.page.screenshots import IMAGES, take
from benchmarks.results import RESULTS, write_results
from benchmarks.tables import table
from demo.run import demo_settings, index
from registry.api.app import create_app
from registry.service import Registry
from tests.registry.api.servers import served

# By what they show; {id} is an adapter.
PAGES = {
    "landing": "/",
    "search": "/?q=eagle",
    "search in Chinese": "/?q=黑色剪影",
    "adapter": "/adapters/{id}",
    "fuse": "/fuse?adapter={id}",
    "status": "/status",
}
WIDTHS = (1280, 360)


@contextmanager
def opened_demo() -> Iterator[Registry]:
    """Give a registry of the demo's adapters, indexed as `make demo` does."""
    with (
        TemporaryDirectory(prefix="autolora-page-") as folder,
        Registry(demo_settings(Path(folder) / "home", port=0)) as registry,
    ):
        index(registry, Event())
        registry.warm_up()
        yield registry


def measure_all(
    browser: Browser, address: str, adapter: int, times: int
) -> dict[tuple[str, int], list[Figures]]:
    """Open every page at every width; by page and width what each opening told."""
    return {
        (name, width): [
            measure(browser, address, path.format(id=adapter), width) for _ in range(times)
        ]
        for name, path in PAGES.items()
        for width in WIDTHS
    }


def to_markdown(told: dict[tuple[str, int], list[Figures]]) -> str:
    head = ["page", "width", "KB without covers", "KB of covers", "requests"]
    rows = [[name, str(width), *_row(opened)] for (name, width), opened in told.items()]
    return table([*head, "first paint, ms", "largest paint, ms", "layout shift"], rows)


def _row(opened: list[Figures]) -> Iterable[str]:
    yield f"{max(one.page_bytes for one in opened) / 1000:.1f}"
    yield f"{max(one.cover_bytes for one in opened) / 1000:.1f}"
    yield str(max(one.requests for one in opened))
    yield f"{statistics.median(one.first_paint_ms for one in opened):.0f}"
    yield f"{statistics.median(one.largest_paint_ms for one in opened):.0f}"
    yield f"{max(one.shift for one in opened):.4f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=7, help="that each page is opened")
    parser.add_argument("--screenshots", action="store_true", help=f"draw those of {IMAGES}, too")
    asked = parser.parse_args()
    try:
        with open_browser() as browser, opened_demo() as registry:
            adapter = registry.search("eagle").results[0].card.id
            with served(create_app(registry)) as (host, port):
                address = f"http://{host}:{port}"
                told = measure_all(browser, address, adapter, asked.times)
                if asked.screenshots:
                    take(browser, address)
    except NoBrowserError as error:
        print(error, file=sys.stderr)
        return 1
    figures = [
        {"page": name, "width": width, "opened": [asdict(one) for one in opened]}
        for (name, width), opened in told.items()
    ]
    write_results(Path(RESULTS / "page.json"), figures, to_markdown(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
