"""Where one types, and where one is, can be seen: WCAG 2.2, 1.4.11, https://www.w3.org/TR/WCAG22."""

import re

import pytest

from registry.api.pages.render import STATIC

STYLES = (STATIC / "page.css").read_text(encoding="utf-8")
# What fields and links stand on; a field's own ground is the panel's.
GROUNDS = ("paper", "panel", "soft", "bad-soft")
LEAST_RATIO = 3.0


def colours(scheme: str) -> dict[str, str]:
    """Return the colours of a scheme by their names."""
    light, dark = re.findall(r":root \{(.+?)\}", STYLES, re.DOTALL)
    return dict(re.findall(r"--([\w-]+): #(\w+)", dark if scheme == "dark" else light))


def luminance(colour: str) -> float:
    """https://www.w3.org/TR/WCAG22/#dfn-relative-luminance"""
    digits = "".join(2 * digit for digit in colour) if len(colour) == 3 else colour
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def ratio(one: str, other: str) -> float:
    darker, lighter = sorted(map(luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_ratios_are_those_of_the_standard() -> None:
    assert ratio("fff", "000000") == pytest.approx(21)
    assert ratio("777", "fff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["accent", "edge"])
def test_the_ring_of_the_focus_and_the_edges_of_fields_stand_out(scheme: str, name: str) -> None:
    named = colours(scheme)

    faint = {
        ground: ratio(named[name], named[ground])
        for ground in GROUNDS
        if ratio(named[name], named[ground]) < LEAST_RATIO
    }

    assert faint == {}


def test_rings_and_edges_are_of_these_colours() -> None:
    """Mixed with what is below it, a colour is fainter."""
    rings = re.findall(r"focus-visible[^{]*\{ outline: ([^;]+);", STYLES)
    [edge] = re.findall(r"^input, select, textarea \{.*? border: ([^;]+);", STYLES, re.MULTILINE)

    assert set(rings) == {"3px solid var(--accent)", "none"}
    assert edge == "1px solid var(--edge)"
