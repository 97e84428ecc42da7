"""What the browser itself says of how a page came: bytes, paints, and how much it shifted."""

from dataclasses import dataclass

from playwright.sync_api import Browser, Page

# Largest paint and shifts are told to observers only, and those have to be there before.
OBSERVE = """
window.told = {largest: 0, shift: 0};
new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) told.largest = entry.startTime;
}).observe({type: "largest-contentful-paint", buffered: true});
new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) told.shift += entry.value;
}).observe({type: "layout-shift", buffered: true});
"""
READ = """async () => {
    const frame = () => new Promise(requestAnimationFrame);
    const isSeen = (image) => image.src && image.getBoundingClientRect().top < innerHeight;
    await Promise.all([...document.images].filter(isSeen).map((image) => image.decode()));
    while (!performance.getEntriesByName("first-contentful-paint").length) await frame();
    // What was laid out by then is painted, and told of, after two more.
    await frame();
    await frame();
    const [page] = performance.getEntriesByType("navigation");
    const files = performance.getEntriesByType("resource").map((file) =>
        [new URL(file.name).pathname, file.transferSize]);
    const [paint] = performance.getEntriesByName("first-contentful-paint");
    return {page: page.transferSize, files, paint: paint.startTime, ...told};
}"""


@dataclass(frozen=True, slots=True)
class Figures:
    """`shift` is the sum of layout shifts, a share of the window; bytes are as transferred."""

    page_bytes: int  # with styles, scripts and icons
    cover_bytes: int
    requests: int
    first_paint_ms: float
    largest_paint_ms: float
    shift: float


def open_measured(page: Page, path: str) -> Figures:
    """Go to `path` and return what the browser tells of it, when all of it has come."""
    page.add_init_script(OBSERVE)
    page.goto(path, wait_until="load")
    said = page.evaluate(READ)
    covers = [size for name, size in said["files"] if "/covers/" in name]
    return Figures(
        page_bytes=said["page"] + sum(size for _, size in said["files"]) - sum(covers),
        cover_bytes=sum(covers),
        requests=1 + len(said["files"]),
        first_paint_ms=said["paint"],
        largest_paint_ms=said["largest"],
        shift=said["shift"],
    )


def measure(browser: Browser, address: str, path: str, width: int) -> Figures:
    """Open a page as somebody does who has never been here."""
    with browser.new_context(
        base_url=address, locale="en-GB", viewport={"width": width, "height": 900}
    ) as context:
        return open_measured(context.new_page(), path)
