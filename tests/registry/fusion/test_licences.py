"""Licences of adapters and base: which asks most, and which do not go together."""

import pytest

from registry.fusion.licences import Terms, conflicts, strictest, terms_of


@pytest.mark.parametrize(
    ("licence", "terms"),
    [
        ("Apache-2.0", Terms.PERMISSIVE),
        ("apache license 2.0", Terms.PERMISSIVE),
        ("MIT", Terms.PERMISSIVE),
        ("CC-BY-4.0", Terms.PERMISSIVE),
        ("cc0-1.0", Terms.PERMISSIVE),
        ("CC-BY-SA-4.0", Terms.CONDITIONS),
        ("creativeml-openrail-m", Terms.CONDITIONS),
        ("openrail++", Terms.CONDITIONS),
        ("GPL-3.0", Terms.CONDITIONS),
        ("CC-BY-NC-4.0", Terms.NON_COMMERCIAL),
        ("cc-by-nc-sa-4.0", Terms.NON_COMMERCIAL),
        ("flux-1-dev-non-commercial-license", Terms.NON_COMMERCIAL),
        ("CC-BY-NC-ND-4.0", Terms.NO_DERIVATIVES),
        ("other", Terms.NOT_STATED),
        ("", Terms.NOT_STATED),
        (None, Terms.NOT_STATED),
    ],
)
def test_licences_are_sorted_by_what_they_ask(licence: str | None, terms: Terms) -> None:
    assert terms_of(licence) is terms


def test_an_absent_licence_is_the_strictest() -> None:
    """Nobody who says nothing has permitted anything."""
    assert strictest(["MIT", "CC-BY-NC-4.0", "GPL-3.0"]) == "CC-BY-NC-4.0"
    assert strictest(["MIT", None]) == "not stated"
    assert strictest([]) == "not stated"


def test_conflicts_are_said_in_words() -> None:
    assert conflicts({"a": "MIT", "b": "CC-BY-4.0", "base": "Apache-2.0"}) == []
    assert conflicts({"a": "CC-BY-SA-4.0", "b": "CC-BY-SA-4.0"}) == []
    (said,) = conflicts({"a": "MIT", "b": None, "c": "my own"})
    assert "b, c (my own)" in said
    (said,) = conflicts({"a": "CC-BY-SA-4.0", "base": "flux-1-dev-non-commercial-license"})
    assert "base forbid commercial use, a ask for their own" in said
    (said,) = conflicts({"a": "CC-BY-SA-4.0", "b": "GPL-3.0"})
    assert "a, b each ask" in said
    (said,) = conflicts({"a": "CC-BY-ND-4.0", "b": "MIT"})
    assert "no derivatives are permitted of: a" in said
