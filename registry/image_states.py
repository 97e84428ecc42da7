"""How far an image is that was asked for. Imports nothing."""

from typing import Literal

ImageState = Literal["waiting", "drawing", "done", "failed", "cancelled", "interrupted"]
UNFINISHED: tuple[ImageState, ...] = ("waiting", "drawing")
