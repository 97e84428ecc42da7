"""Pictures redrawn in looks that no set has, so that a name is learned apart from its art."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from demo.effects import Floats

GREY = np.array([0.3, 0.59, 0.11], np.float32)
# How the ink is drawn, and how often.
INKS = {
    "keep": 0.14,
    "tint": 0.1,
    "two tones": 0.18,
    "solid": 0.14,
    "edges": 0.16,
    "swapped": 0.1,
    "poster": 0.08,
    "rim": 0.1,
}


def redraw(rgba: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Draw pictures (n, 64, 64, 4), all in one random look; returns RGB uint8 (n, 64, 64, 3)."""
    rgb: Floats = rgba[..., :3].astype(np.float32) / 255
    alpha: Floats = rgba[..., 3].astype(np.float32) / 255
    rgb, alpha = inked(*moved(rgb, alpha, rng), rng)
    if rng.random() < 0.3:
        change = ndimage.grey_dilation if rng.random() < 0.6 else ndimage.grey_erosion
        size = int(rng.integers(2, 4))
        alpha = np.stack([change(part, size=(size, size)) for part in alpha])
    ground, is_plain = draw_ground(rng)
    if not is_plain and lacks_contrast(rgb, alpha, ground):
        rgb = 1 - rgb
    drawn = rgb * alpha[..., None] + ground * (1 - alpha[..., None])
    return (spoiled(drawn, rng).clip(0, 1) * 255).astype(np.uint8)


def moved(rgb: Floats, alpha: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Mirror, turn, scale and shift."""
    if rng.random() < 0.5:
        rgb, alpha = rgb[:, :, ::-1], alpha[:, :, ::-1]
    if rng.random() >= 0.6:
        return rgb, alpha
    turn, zoom = np.deg2rad(rng.normal(0, 12)), rng.uniform(0.65, 1.1)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) / zoom
    centre = np.array([31.5, 31.5])
    shift = centre - matrix @ centre + rng.normal(0, 3, 2)

    def move(plane: Floats) -> Floats:
        placed: Floats = ndimage.affine_transform(plane, matrix, shift, order=1)
        return placed

    alpha = np.stack([move(part) for part in alpha])
    return np.stack([np.stack([move(p[..., c]) for c in range(3)], -1) for p in rgb]), alpha


def inked(rgb: Floats, alpha: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Change the colours, or keep the edges alone."""
    light = rgb @ GREY
    ink = rng.choice(list(INKS), p=list(INKS.values()))
    colours = rng.random((4, 3)).astype(np.float32)
    if rng.random() < 0.3:
        colours[0] *= 0.2  # a dark one, as most sets have
    if ink == "tint":
        rgb = rgb * 0.35 + colours[0] * 0.65
    elif ink == "two tones":
        t = light[..., None]
        dark = colours[0] + (colours[1] - colours[0]) * 2 * t
        rgb = np.where(t < 0.5, dark, colours[1] + (colours[2] - colours[1]) * (2 * t - 1))
    elif ink == "solid":
        rgb = np.broadcast_to(colours[0], rgb.shape)
    elif ink == "edges":
        size = int(rng.integers(1, 4)) + 1
        inside = np.where(alpha > 0.5, light + 1, 0)
        edges = np.stack([ndimage.morphological_gradient(p, size=(size, size)) for p in inside])
        alpha = (edges * rng.uniform(1.5, 3)).clip(0, 1)
        rgb = np.broadcast_to(colours[0], rgb.shape)
    elif ink == "swapped":
        rgb = rgb[..., rng.permutation(3)]
        rgb = 1 - rgb if rng.random() < 0.5 else rgb
    elif ink == "poster":
        tones = rng.integers(2, 4)
        rgb = np.round(rgb * tones) / tones
    elif ink == "rim":
        rim = np.stack([p - ndimage.grey_erosion(p, size=(3, 3)) for p in alpha])
        rim = rim[..., None].clip(0, 1)
        rgb = colours[0] * (1 - rim) + colours[1] * rim
    return rgb, alpha


def draw_ground(rng: np.random.Generator) -> tuple[Floats, bool]:
    """Draw what is behind, (1, 64, 64, 3); tells whether it is plain white."""
    ground: Floats = np.ones((1, 64, 64, 3), np.float32)
    kind = rng.random()
    y, x = np.mgrid[0:64, 0:64] / 63 - 0.5
    if kind < 0.3:
        ground = ground * rng.random(3).astype(np.float32)
    elif kind < 0.42:
        ground = badge(np.hypot(x, y), rng)
    elif kind < 0.5:
        ground = badge(np.maximum(abs(x), abs(y)), rng)
    elif kind < 0.56:
        down = y[..., None] + 0.5
        ground = (rng.random(3) * down + rng.random(3) * (1 - down))[None].astype(np.float32)
    return ground, kind >= 0.56


def badge(distance: Floats, rng: np.random.Generator) -> Floats:
    """Draw a coloured shape on white, given how far every point is from its middle."""
    inside = (distance < rng.uniform(0.38, 0.5))[None, ..., None]
    return np.where(inside, rng.random(3), 1.0).astype(np.float32)


def lacks_contrast(rgb: Floats, alpha: Floats, ground: Floats) -> bool:
    seen = alpha > 0.3
    light = float(rgb[seen].mean()) if seen.any() else 0.0
    return abs(light - float(ground[:, 32, 32].mean())) < 0.15


def spoiled(drawn: Floats, rng: np.random.Generator) -> Floats:
    """Make some of the pictures coarse, blurred, noisy or faint."""
    if rng.random() < 0.2:
        size = int(rng.choice([2, 4]))
        coarse = drawn.reshape(len(drawn), 64 // size, size, 64 // size, size, 3).mean((2, 4))
        drawn = coarse.repeat(size, 1).repeat(size, 2)
    if rng.random() < 0.15:
        spread = rng.uniform(0.5, 1.3), rng.uniform(0.5, 1.3)
        drawn = ndimage.gaussian_filter(drawn, (0, *spread, 0))
    if rng.random() < 0.15:
        drawn = drawn + rng.normal(0, rng.uniform(0.03, 0.12), drawn.shape)
    if rng.random() < 0.15:
        drawn = drawn * rng.uniform(0.5, 1) + rng.uniform(0, 0.3)
    return drawn
