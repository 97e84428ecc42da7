"""What errors advise, in the words of who reads them: a command in a terminal, a route over HTTP, a
page in a browser.

Errors are worded for the command line. This imports nothing.
"""

import re

# What lists, or shows, adapters: a command, and the route and page that do the same.
PLACES = (
    ("`autolora list`", "`GET /v1/adapters`", "The start page"),
    ("`autolora show {id}`", "`GET /v1/adapters/{id}`", "its page"),
)


def for_http(text: str) -> str:
    """Return an error's text with routes for the commands that it advises."""
    return _put(text, 0, 1)


def for_terminal(text: str) -> str:
    """Return it the other way round: what a server says to who asks it by a command."""
    return _put(text, 1, 0)


def for_page(text: str) -> str:
    """Return what is said over HTTP with pages for the routes that it advises."""
    return _put(text, 1, 2)


def _put(text: str, found: int, put: int) -> str:
    for place in PLACES:
        pattern = re.escape(place[found]).replace(re.escape("{id}"), r"(\d+)")
        text = re.sub(pattern, place[put].replace("{id}", r"\1"), text)
    return text
