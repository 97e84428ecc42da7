"""Looks that no set has, drawn from the art's pictures and told in words that are true of them.

A set's look goes by a name of its own ("material outline icon"), which tells little of what is
seen. What is made here is known: the form, and the colour.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from demo.effects import Floats, pattern_mask
from demo.world.redraw import GREY
from demo.world.said import INKS, MADE

PALE = 0.75  # of white, in a pale shade of a colour
# Shares of what is drawn that lies deep inside: below the first it is lines, above the second
# it is filled.
THIN, THICK = 0.08, 0.3
# How far tones of a picture spread that has light and dark areas.
TONED = 0.12


@dataclass(frozen=True)
class Plate:
    """Pictures and a colour to draw them in; all planes in 0..1."""

    rgb: Floats  # (n, 64, 64, 3)
    alpha: Floats  # (n, 64, 64)
    paint: Floats  # (3,)

    @property
    def light(self) -> Floats:
        found: Floats = self.rgb @ GREY
        return found

    @property
    def pale(self) -> Floats:
        found: Floats = self.paint + (1 - self.paint) * PALE
        return found

    def edges(self, size: int) -> Floats:
        """Return where shapes and tones end, (n, 64, 64), some pixels wide; lines are kept."""
        lined = thickness(self.alpha) < THIN
        widened = ndimage.grey_dilation(self.alpha, (1, size - 1, size - 1))
        return np.where(lined[:, None, None], widened, self._ends(size))

    def _ends(self, size: int) -> Floats:
        inside = np.where(self.alpha > 0.5, self.light + 1, 0)
        found = [ndimage.morphological_gradient(one, size=(size, size)) for one in inside]
        strong: Floats = (np.stack(found) * 2).clip(0, 1)
        return strong

    def rim(self) -> Floats:
        """Return the outermost part of shapes, (n, 64, 64)."""
        within = np.stack([ndimage.grey_erosion(one, size=(5, 5)) for one in self.alpha])
        found: Floats = (self.alpha - within).clip(0, 1)
        return found


def thickness(alpha: Floats) -> Floats:
    """Return what share of pictures (n, 64, 64) is three pixels and more from its ends, (n,)."""
    deep = ndimage.grey_erosion(alpha, (1, 7, 7)).sum((1, 2))
    found: Floats = deep / np.maximum(alpha.sum((1, 2)), 1)
    return found


def tones(rgb: Floats, alpha: Floats) -> Floats:
    """Return how far the tones of every picture spread, (n,), a standard deviation."""
    light, total = rgb @ GREY, np.maximum(alpha.sum((1, 2)), 1)
    mean = (light * alpha).sum((1, 2)) / total
    spread: Floats = np.sqrt((np.square(light - mean[:, None, None]) * alpha).sum((1, 2)) / total)
    return spread


def blend(cover: Floats, above: Floats, below: Floats | float = 1.0) -> Floats:
    """Lay a colour over another where `cover` (n, 64, 64) says so."""
    mixed: Floats = above * cover[..., None] + below * (1 - cover[..., None])
    return mixed


def coarse(drawn: Floats) -> Floats:
    """Draw in pixels of four."""
    n, size = len(drawn), 64 // 4
    blocks: Floats = drawn.reshape(n, size, 4, size, 4, 3).mean((2, 4))
    return blocks.repeat(4, 1).repeat(4, 2)


def blocky(cover: Floats) -> Floats:
    return (coarse(cover[..., None].repeat(3, -1))[..., 0] > 0.4).astype(np.float32)


def broken(cover: Floats) -> Floats:
    """Leave gaps in lines."""
    y, x = np.mgrid[0:64, 0:64]
    found: Floats = cover * (((x + 2 * y) // 7) % 4 > 0)
    return found


def wobbly(cover: Floats) -> Floats:
    """Shift rows and columns a little, as a hand does."""
    y, x = np.mgrid[0:64, 0:64].astype(np.float32)
    places = [y + 1.6 * np.sin(x / 4.1), x + 1.6 * np.sin(y / 3.3 + 1)]
    return np.stack([ndimage.map_coordinates(one, places, order=1) for one in cover])


def shifted(cover: Floats, by: int) -> Floats:
    return np.roll(cover, (by, by), (1, 2))


def shape(kind: str) -> Floats:
    """Return a tile that pictures are put on, (64, 64)."""
    y, x = np.mgrid[0:64, 0:64] / 63 - 0.5
    distance = np.hypot(x, y) if kind == "circle" else np.maximum(abs(x), abs(y))
    found: Floats = (distance < 0.49).astype(np.float32)
    return found


def small(cover: Floats) -> Floats:
    """Shrink pictures to leave a margin."""
    matrix, shift = np.eye(2) / 0.66, np.full(2, 31.5 - 31.5 / 0.66)
    return np.stack([ndimage.affine_transform(one, matrix, shift, order=1) for one in cover])


def on_tile(plate: Plate, kind: str) -> Floats:
    tile = np.broadcast_to(shape(kind), plate.alpha.shape)
    return blend(small(plate.alpha), np.ones(3), blend(tile, plate.paint))


def shaded(plate: Plate) -> Floats:
    down = np.linspace(0, 0.8, 64, dtype=np.float32)[None, :, None, None]
    return blend(plate.alpha, plate.paint * (1 - down) + down)


Draw = Callable[[Plate], Floats]
# How each form of demo/world/said.py is drawn.
FORMS: dict[str, Draw] = {
    "line": lambda p: blend(p.edges(2), p.paint),
    "thick line": lambda p: blend(p.edges(4), p.paint),
    "solid": lambda p: blend(p.alpha, p.paint),
    "outlined": lambda p: blend(p.rim(), p.paint, blend(p.alpha, p.pale)),
    "two shades": lambda p: blend(p.alpha, np.where(p.light[..., None] < 0.5, p.paint, p.pale)),
    "line and shade": lambda p: blend(p.edges(2), p.paint, blend(p.alpha, np.full(3, 0.85))),
    "square": lambda p: on_tile(p, "square"),
    "circle": lambda p: on_tile(p, "circle"),
    "pixels": lambda p: blend(blocky(p.alpha), p.paint),
    "pixel line": lambda p: blend(blocky(p.edges(4)), p.paint),
    "sketch": lambda p: blend(wobbly(p.edges(2)), p.paint),
    "gaps": lambda p: blend(broken(p.edges(3)), p.paint),
    "halftone": lambda p: blend(p.alpha * pattern_mask("dots", 64), p.paint),
    "offset": lambda p: blend(p.edges(2), p.paint, blend(shifted(p.alpha, 4), np.full(3, 0.8))),
    "blurred": lambda p: blend(ndimage.gaussian_filter(p.alpha, (0, 2.5, 2.5)), p.paint),
    "shaded": shaded,
}
# What can be drawn in any form; of lines nothing is filled, and of one tone there are no two.
ANY = ("line", "thick line", "square", "circle", "pixel line", "sketch", "gaps", "pixels")


@dataclass(frozen=True)
class MadeLook:
    """A form of FORMS in a colour of INKS."""

    form: str
    colour: str

    def suits(self, rgba: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Tell which pictures (n, 64, 64, 4) can be drawn so that what is said is true, (n,)."""
        if self.form in ANY:
            return np.ones(len(rgba), bool)
        planes = rgba.astype(np.float32) / 255
        suited: npt.NDArray[np.bool_] = thickness(planes[..., 3]) > THICK
        if self.form == "two shades":
            suited &= tones(planes[..., :3], planes[..., 3]) > TONED
        return suited

    @property
    def said(self) -> list[str]:
        """All that can be said of it in English."""
        return [text.replace("{}", self.colour) for text in MADE[self.form][0]]

    @property
    def said_zh(self) -> list[str]:
        return [text.replace("{}", INKS[self.colour][0]) for text in MADE[self.form][1]]

    def in_words(self, rng: np.random.Generator) -> tuple[str, str]:
        """Say it in one of many ways, in English and in Chinese."""
        return str(rng.choice(self.said)), str(rng.choice(self.said_zh))

    def draw(self, rgba: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Draw pictures (n, 64, 64, 4) in it; returns RGB uint8 (n, 64, 64, 3)."""
        planes = rgba.astype(np.float32) / 255
        paint = np.array(INKS[self.colour][1], np.float32) / 255
        drawn = FORMS[self.form](Plate(planes[..., :3], planes[..., 3], paint))
        return (drawn.clip(0, 1) * 255).astype(np.uint8)


MADE_LOOKS = tuple(MadeLook(form, colour) for form in FORMS for colour in INKS)
