"""Contact sheets: pictures in rows, for people to look at."""

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

GAP = 4


def to_pictures(images: Tensor) -> npt.NDArray[np.uint8]:
    """Pictures (n, 3, h, w) in [-1, 1] -> RGB uint8 (n, h, w, 3)."""
    scaled = ((images.permute(0, 2, 3, 1) + 1) * 127.5).round().clamp(0, 255)
    return scaled.byte().numpy()


def contact_sheet(pictures: npt.NDArray[np.uint8], columns: int, zoom: int = 2) -> Image.Image:
    """Lay pictures (n, h, w, 3) out in rows on gray."""
    count, height, width, _ = pictures.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), 160, np.uint8)
    for place, picture in enumerate(pictures):
        top = GAP + place // columns * (height + GAP)
        left = GAP + place % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = picture
    image = Image.fromarray(sheet)
    return image.resize((image.width * zoom, image.height * zoom), Image.Resampling.LANCZOS)
