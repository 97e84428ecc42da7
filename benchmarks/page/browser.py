"""The system's own Chromium, driven by Playwright: no browser is downloaded."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

# Debian's, and what others call theirs.
NAMES = ("chromium", "chromium-browser", "google-chrome")


class NoBrowserError(Exception):
    """Nothing here can show a page."""


def find_chromium() -> str:
    """Return the path of the browser that CHROMIUM names, else of one on PATH.

    Raises:
        NoBrowserError: there is none.
    """
    for name in filter(None, (os.environ.get("CHROMIUM"), *NAMES)):
        if path := shutil.which(name):
            return path
    raise NoBrowserError(
        "There is no Chromium here: on Debian `apt install chromium`; elsewhere set CHROMIUM to "
        "the path of a Chromium or Chrome."
    )


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start a browser without a window.

    Raises:
        NoBrowserError: there is none to start.
    """
    path = find_chromium()
    # Root's Chromium starts without its sandbox only; it sees pages of this machine only.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield browser
        finally:
            browser.close()
