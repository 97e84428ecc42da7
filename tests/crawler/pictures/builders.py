"""Pictures that carry what programs write into theirs, as real files."""

import io
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from crawler.pictures.texts import EXIF_IFD, USER_COMMENT

COLOURED = Image.linear_gradient("L").resize((64, 64)).convert("RGB")


def png(image: Image.Image = COLOURED, *, chunk: str = "iTXt", **texts: str) -> bytes:
    """A PNG with text chunks of a kind: tEXt, zTXt or iTXt."""
    info = PngInfo()
    for name, text in texts.items():
        if chunk == "iTXt":
            info.add_itxt(name.replace("_", "-"), text)
        else:
            info.add_text(name.replace("_", "-"), text, zip=chunk == "zTXt")
    return encoded(image, "PNG", pnginfo=info)


def with_comment(
    text: str,
    kind: str = "JPEG",
    image: Image.Image = COLOURED,
    encoding: str = "utf-16-be",
    mark: bytes | None = None,
) -> bytes:
    """A picture with a text in EXIF's UserComment, as web UIs and Civitai write it."""
    exif = Image.Exif()
    if mark is None:
        mark = b"UNICODE\0" if encoding.startswith("utf-16") else b"ASCII\0\0\0"
    exif.get_ifd(EXIF_IFD)[USER_COMMENT] = mark + text.encode(encoding)
    return encoded(image, kind, exif=exif)


def with_tags(tags: dict[int, str], kind: str = "WEBP", image: Image.Image = COLOURED) -> bytes:
    """A picture with texts in EXIF's main tags, as ComfyUI writes its WebP."""
    exif = Image.Exif()
    for tag, text in tags.items():
        exif[tag] = text
    return encoded(image, kind, exif=exif)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")
