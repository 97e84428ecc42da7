"""Which kind of answer is sent, of those that a route has."""

import pytest

from registry.api.accepted import liked_best

KINDS = ("application/json", "image/png", "application/x-ndjson")


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/html", "application/json"),
        ("application/x-ndjson;q=0", "application/json"),
        ("application/x-ndjson;q=0, */*", "application/json"),
        ("application/json, image/png;q=0.5", "application/json"),
        ("application/json;q=0.5, IMAGE/PNG", "image/png"),
        ("image/*", "image/png"),
        ("image/png, */*", "image/png"),
        ("image/png;q=0.5, */*", "application/json"),
        ("application/json;q=0.2, application/x-ndjson; q=0.9", "application/x-ndjson"),
        ("application/x-ndjson;q=nan", "application/x-ndjson"),
    ],
)
def test_the_kind_that_is_liked_best_is_sent(header: str, kind: str) -> None:
    assert liked_best(header, KINDS) == kind
