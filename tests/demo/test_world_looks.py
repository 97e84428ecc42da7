"""Looks that no set has: what is said of them is true."""

import numpy as np
import pytest

from demo.world.said import INKS, MADE

pytest.importorskip("scipy", reason="it comes with the extra `zoo`, which drawing looks needs")

from demo.world.made_looks import FORMS, MADE_LOOKS, MadeLook


def disc(fill: float) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A gray disc whose inner part is `fill` of it, and dark; RGBA (1, 64, 64, 4)."""
    y, x = np.mgrid[0:64, 0:64] - 31.5
    distance = np.hypot(x, y)
    rgba = np.zeros((1, 64, 64, 4), np.uint8)
    rgba[0, ..., :3] = np.where(distance < 12, 30, 200)[..., None]
    rgba[0, ..., 3] = 255 * ((distance < 28) & (distance > 28 * (1 - fill)))
    return rgba


@pytest.mark.parametrize("form", MADE)
def test_a_made_look_is_drawn_in_its_colour(form: str) -> None:
    red, blue = (
        MadeLook(form, colour).draw(disc(1.0))[0].astype(int) for colour in ("red", "blue")
    )

    ink = np.abs(red - blue).sum(axis=-1) > 60
    assert ink.any()
    assert (red[ink][:, 0] > red[ink][:, 2]).mean() > 0.9
    assert (blue[ink][:, 2] > blue[ink][:, 0]).mean() > 0.9


def test_lines_are_outlines_and_filled_shapes_are_full() -> None:
    inks = {
        form: (MadeLook(form, "black").draw(disc(1.0)).mean(axis=-1) < 128).mean()
        for form in ("line", "thick line", "solid")
    }
    assert inks["line"] < inks["thick line"] < inks["solid"] / 1.5


def test_what_is_only_lines_is_not_called_filled() -> None:
    lined, filled = disc(0.1), disc(1.0)
    both = np.concatenate([lined, filled])

    assert MadeLook("solid", "red").suits(both).tolist() == [False, True]
    assert MadeLook("line", "red").suits(both).tolist() == [True, True]


def test_what_has_one_tone_has_no_two_shades() -> None:
    plain = disc(1.0)
    plain[..., :3] = 90

    assert MadeLook("two shades", "red").suits(np.concatenate([plain, disc(1.0)])).tolist() == [
        False,
        True,
    ]


def test_every_made_look_says_its_colour_in_both_languages() -> None:
    assert FORMS.keys() == MADE.keys()
    assert len(MADE_LOOKS) == len(FORMS) * len(INKS)
    for look in MADE_LOOKS:
        assert all(look.colour in said for said in look.said)
        assert all(INKS[look.colour][0] in said for said in look.said_zh)
