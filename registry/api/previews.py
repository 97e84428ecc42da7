"""How images look that are being drawn here: the last look at each, in memory only."""

import threading
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from registry.errors import NoPreviewError

if TYPE_CHECKING:
    from PIL.Image import Image

# Of WebP; 128 pixels a side take some KB with it, and 7 if they are nothing but noise.
QUALITY = 70


@dataclass(frozen=True, slots=True)
class Preview:
    """A small WebP, and its number among those of its image."""

    number: int
    webp: bytes


class Previews:
    """Keeps one look at each image that is drawn, until it is done or given up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[int, Preview] = {}

    def show(self, image_id: int, picture: "Image") -> None:
        buffer = BytesIO()
        picture.save(buffer, "WEBP", quality=QUALITY, method=0)
        with self._lock:
            before = self._last.get(image_id)
            number = 1 if before is None else before.number + 1
            self._last[image_id] = Preview(number, buffer.getvalue())

    def get(self, image_id: int) -> Preview:
        """Return the last look at an image, or raise NoPreviewError."""
        with self._lock:
            preview = self._last.get(image_id)
        if preview is None:
            raise NoPreviewError(image_id)
        return preview

    def path(self, image_id: int) -> str | None:
        """Return where the last look at an image is, each at an address of its own."""
        with self._lock:
            preview = self._last.get(image_id)
        return None if preview is None else f"/v1/images/{image_id}/preview?n={preview.number}"

    def forget(self, image_id: int) -> None:
        with self._lock:
            self._last.pop(image_id, None)
