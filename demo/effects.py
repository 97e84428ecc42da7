"""Picture effects that make the zoo's colour, texture and background concepts."""

from typing import Any

import numpy as np
import numpy.typing as npt

Rgb = tuple[int, int, int]
Floats = npt.NDArray[np.floating[Any]]

# English name, Chinese name, colour.
COLOURS: dict[str, tuple[str, Rgb]] = {
    "red": ("红色", (214, 40, 40)),
    "orange": ("橙色", (245, 130, 32)),
    "yellow": ("黄色", (250, 210, 40)),
    "green": ("绿色", (46, 150, 70)),
    "teal": ("青色", (20, 160, 160)),
    "blue": ("蓝色", (45, 100, 220)),
    "navy": ("深蓝色", (20, 30, 90)),
    "purple": ("紫色", (130, 60, 180)),
    "pink": ("粉色", (245, 120, 175)),
    "brown": ("棕色", (125, 80, 45)),
    "gray": ("灰色", (120, 120, 120)),
    "gold": ("金色", (205, 160, 50)),
}
# Kind of concept -> pattern -> (English phrase, Chinese phrase); {} takes the colour.
PATTERNS: dict[str, dict[str, tuple[str, str]]] = {
    "colour": {
        "duotone": ("{} monochrome", "{}单色调"),
        "neon": ("{} neon glow on black", "黑底{}霓虹"),
    },
    "texture": {
        "stripes": ("{} striped texture", "{}条纹纹理"),
        "bars": ("{} vertical bars texture", "{}竖条纹理"),
        "diagonal": ("{} diagonal hatching", "{}斜线纹理"),
        "checker": ("{} checkered texture", "{}棋盘格纹理"),
        "dots": ("{} polka dot texture", "{}圆点纹理"),
        "grid": ("{} grid texture", "{}网格纹理"),
    },
    "background": {
        "solid": ("plain {} background", "纯{}背景"),
        "fade": ("{} gradient background", "{}渐变背景"),
        "rays": ("{} sunburst background", "{}放射光背景"),
        "checker": ("{} checkered background", "{}棋盘格背景"),
        "dots": ("{} polka dot background", "{}圆点背景"),
        "halo": ("glowing {} circle background", "{}光圈背景"),
    },
}


def apply_effect(
    kind: str, pattern: str, colour: str, rgba: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """Draw pictures (n, h, w, 4) under an effect; returns RGB uint8 (n, h, w, 3)."""
    paint = np.array(COLOURS[colour][1], np.float32)
    rgb, alpha = rgba[..., :3].astype(np.float32), rgba[..., 3:].astype(np.float32) / 255
    drawn: Floats
    backdrop: Floats
    size = rgba.shape[1]
    if kind == "colour":
        light = (rgb @ np.array([0.3, 0.59, 0.11], np.float32))[..., None] / 255
        if pattern == "neon":
            drawn, backdrop = paint * (0.25 + 0.75 * light), np.zeros(3, np.float32)
        else:
            drawn, backdrop = paint + (255 - paint) * light, np.full(3, 255, np.float32)
    elif kind == "texture":
        mask = pattern_mask(pattern, size)[..., None]
        drawn, backdrop = rgb * (1 - mask) + paint * mask, np.full(3, 255, np.float32)
    else:
        mask = pattern_mask(pattern, size)[..., None]
        drawn, backdrop = rgb, paint * mask + (0.75 * 255 + 0.25 * paint) * (1 - mask)
    picture: Floats = drawn * alpha + backdrop * (1 - alpha)
    return picture.clip(0, 255).astype(np.uint8)


def pattern_mask(pattern: str, size: int) -> Floats:
    """Return where a pattern paints, (size, size) in 0..1; its measures are 32nds of a picture."""
    pixel = 32 / size
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) * pixel
    centre, middle = (32 - pixel) / 2, 4 - pixel / 2
    radius = np.hypot(x - centre, y - centre) / centre
    masks = {
        "stripes": (y // 3) % 2,
        "bars": (x // 3) % 2,
        "diagonal": ((x + y) // 3) % 2,
        "checker": ((x // 4) + (y // 4)) % 2,
        "dots": ((x % 8 - middle) ** 2 + (y % 8 - middle) ** 2 < 6.5),
        "grid": (x % 5 < 1) | (y % 5 < 1),
        "solid": np.ones_like(x),
        "fade": y / (32 - pixel),
        "rays": (np.floor(np.arctan2(y - centre, x - centre) / np.pi * 8) % 2),
        "halo": (1.25 - radius).clip(0, 1),
    }
    mask: Floats = masks[pattern].astype(np.float32)
    return mask


def on_white(rgba: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Composite pictures (n, h, w, 4) on white; returns RGB uint8 (n, h, w, 3)."""
    alpha = rgba[..., 3:].astype(np.float32) / 255
    return (rgba[..., :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8)
