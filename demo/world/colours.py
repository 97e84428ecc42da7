"""Name the colour that most of a picture has."""

from typing import Any

import numpy as np
import numpy.typing as npt

# English and Chinese: greys, brown, then hues in their order.
COLOUR_WORDS = (
    ("black", "黑色"),
    ("gray", "灰色"),
    ("white", "白色"),
    ("brown", "棕色"),
    ("red", "红色"),
    ("orange", "橙色"),
    ("yellow", "黄色"),
    ("green", "绿色"),
    ("teal", "青色"),
    ("blue", "蓝色"),
    ("purple", "紫色"),
    ("pink", "粉色"),
)
# Places in COLOUR_WORDS.
BROWN, FIRST_HUE = 3, 4
# Where red, orange, yellow, ... pink end, in degrees of hue; red begins again at 345.
HUE_ENDS = np.array([15, 40, 68, 160, 195, 255, 290, 345])
SHARE = 0.55


def main_colours(rgba: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
    """Give each picture's colour as a place in COLOUR_WORDS, -1 where it has several."""
    return np.array([main_colour(picture) for picture in rgba], np.int8)


def main_colour(rgba: npt.NDArray[np.uint8]) -> int:
    solid = rgba[rgba[..., 3] > 100][:, :3] / np.float32(255)
    if not len(solid):
        return -1
    counts = np.bincount(classify(solid), minlength=len(COLOUR_WORDS))
    most = int(counts.argmax())
    return most if counts[most] >= SHARE * len(solid) else -1


def classify(rgb: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.int64]:
    """Tell the colour word of pixels (n, 3) in 0..1."""
    high, low = rgb.max(1), rgb.min(1)
    spread = np.maximum(high - low, 1e-6)
    red, green, blue = rgb.T
    hue = np.select(
        [high == red, high == green],
        [(green - blue) / spread % 6, (blue - red) / spread + 2],
        (red - green) / spread + 4,
    )
    word = FIRST_HUE + np.searchsorted(HUE_ENDS, hue * 60) % len(HUE_ENDS)
    word[(hue * 60 < 45) & (high < 0.62)] = BROWN
    gray = (high - low < 0.12) | (high < 0.16)
    word[gray] = np.digitize(high[gray], (0.3, 0.9))
    return np.asarray(word, np.int64)
