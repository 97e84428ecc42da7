"""Pictures, and an endpoint on loopback."""

import io

from PIL import Image


def png(size: tuple[int, int] = (40, 30), colour: str = "red", mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size, colour).save(stream, "PNG")
    return stream.getvalue()
