"""Bytes from a hub -> an image that is safe to keep and to show."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from crawler.broken_images import BROKEN_IMAGE
from crawler.errors import CoverError

MAX_BYTES = 32 * 2**20
# 40 megapixels are more than any cover has.
MAX_PIXELS = 40_000_000
MIN_SIDE = 8
# A JPEG of many scans is gone through once for each of them, whatever is in it: 280 KB of 10,000
# take seven seconds, 32 MB a quarter of an hour. Programs write a dozen; 32 MB of a film behind a
# picture hold some 490 marks by chance.
MOST_SCANS = 500
JPEG_MARK, SCAN_MARK = b"\xff\xd8", b"\xff\xda"
# Longer sides are scaled down to this; WebP itself ends at 16383.
MAX_SIDE = 4096
THUMBNAIL_SIDE = 256
# Up to this many pixels lossless WebP costs little, and tiny pictures suffer from artefacts.
_LOSSLESS_PIXELS = 256 * 256
_QUALITY = 90
# How hard WebP tries, of 6. Against the 4 that Pillow would take, 1 needs a sixth to a half of the
# time and makes files up to 4 % longer (64 to 768 pixels wide, measured).
_EFFORT = 1
# How hard it tries besides where nothing is lost, of 100; Pillow calls that quality too. Against 90
# it needs half to two thirds of the time, for files up to 1.3 % longer (64 and 256 pixels wide).
_LOSSLESS_EFFORT = 25
FORMATS = ("PNG", "JPEG", "WEBP", "GIF")


@dataclass(frozen=True, slots=True)
class Cover:
    """A cover as we keep it: re-encoded to WebP, upright, without metadata.

    `phash` is a 64-bit difference hash as a signed integer (a PostgreSQL bigint): covers
    that look alike differ in few bits.
    """

    image: bytes
    width: int
    height: int
    thumbnail: bytes
    phash: int


def read_cover(data: bytes) -> Cover:
    """Decode a cover and encode it anew, so that nothing of the file itself is served.

    Of animations the first frame is kept.

    Raises:
        CoverError: no image, or one too large or too small; the message says what it is.
    """
    with upright(data) as image:
        if max(image.size) > MAX_SIDE:
            image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
        thumbnail = image.copy()
        thumbnail.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
        encoded = _encode(image)
        return Cover(
            image=encoded,
            width=image.width,
            height=image.height,
            # A small picture is its own thumbnail; encoding takes more time than all else here.
            thumbnail=_encode(thumbnail) if thumbnail.size != image.size else encoded,
            phash=difference_hash(image),
        )


@contextmanager
def upright(data: bytes) -> Iterator[Image.Image]:
    """Give a picture decoded: upright, as RGB or RGBA; in `info` is what its file says besides.

    All threads together decode only so many pixels at once.

    Raises:
        CoverError: no image, or one too large or too small; the message says what it is.
    """
    _refuse_other_kinds(data)
    with _DECODING.take(_count_pixels(data)):
        yield _decode(data)


class _PixelBudget:
    """Pixels that may be decoded at once, by all threads together; who finds too few waits.

    A picture of 2 KB can be one of 40 megapixels, and takes up to 25 bytes for each of them
    while it is decoded, turned and encoded.
    """

    def __init__(self, pixels: int) -> None:
        self._all = self._left = pixels
        self._changed = threading.Condition()

    @contextmanager
    def take(self, pixels: int) -> Iterator[None]:
        # What is larger than all waits until nothing else is decoded.
        pixels = min(pixels, self._all)
        with self._changed:
            self._changed.wait_for(lambda: self._left >= pixels)
            self._left -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._left += pixels
                self._changed.notify_all()


# Covers have one or two megapixels: eight threads seldom wait.
_DECODING = _PixelBudget(16_000_000)


def difference_hash(image: Image.Image) -> int:
    """Return 64 bits as a signed integer: whether each of 8x8 cells is brighter than the next.

    dHash [1] survives scaling, re-encoding and changes of brightness.

    - [1] Krawetz, 2013, https://www.hackerfactor.com/blog/index.php?/archives/529-Kind-of-Like-That.html
    """
    grey = on_white(image).convert("L").resize((9, 8), Image.Resampling.LANCZOS)
    cells = np.asarray(grey, np.int16)
    bits = np.packbits(cells[:, 1:] < cells[:, :-1])
    return int.from_bytes(bits.tobytes(), "big", signed=True)


def _refuse_other_kinds(data: bytes) -> None:
    """Name what hubs serve as images and is none, better than a decoder could."""
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    kinds = {
        "empty": not data,
        "larger than 32 MB": len(data) > MAX_BYTES,
        "a git LFS pointer, not the image itself": start.startswith(b"version https://git-lfs"),
        "an HTML page": start.startswith((b"<!doctype html", b"<html", b"<head", b"<script")),
        "an SVG or XML document": start.startswith((b"<svg", b"<?xml", b"<!doctype svg")),
        "JSON": start.startswith((b"{", b"[")),
        "a video, or HEIF": data[4:8] == b"ftyp" or data.startswith((b"\x1a\x45\xdf\xa3", b"OggS")),
    }
    for kind, found in kinds.items():
        if found:
            raise CoverError(f"the picture is {kind}")


def _count_pixels(data: bytes) -> int:
    """Return how many pixels a picture has, before any is decoded.

    Raises:
        CoverError: too many or too few, in too many scans, or it is no picture.
    """
    with _broken_images(), Image.open(io.BytesIO(data), formats=FORMATS) as opened:
        width, height = opened.size
    if data.startswith(JPEG_MARK) and data.count(SCAN_MARK) > MOST_SCANS:
        raise CoverError(f"the picture is a JPEG of more than {MOST_SCANS} scans")
    if width * height > MAX_PIXELS:
        raise CoverError(f"the picture has {width}x{height} pixels, more than we decode")
    if min(width, height) < MIN_SIDE:
        raise CoverError(f"the picture has {width}x{height} pixels, too few to show")
    return width * height


def _decode(data: bytes) -> Image.Image:
    """Return the picture upright, as RGB or RGBA."""
    with _broken_images(), Image.open(io.BytesIO(data), formats=FORMATS) as opened:
        upright = ImageOps.exif_transpose(opened)
        if upright.mode.startswith("I;16"):
            # Pillow cuts off what is above 255: nearly all of it would be white.
            upright = upright.point(lambda value: value * (1 / 256) + 0)
        return upright.convert("RGBA" if upright.has_transparency_data else "RGB")


@contextmanager
def _broken_images() -> Iterator[None]:
    """Our error for all that Pillow raises."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise CoverError("the picture has far more pixels than we decode") from error
    except UnidentifiedImageError as error:
        raise CoverError("the picture is no image of a kind that we know") from error
    except BROKEN_IMAGE as error:
        raise CoverError(f"the picture is a broken image: {error}") from error


def _encode(image: Image.Image) -> bytes:
    # Pillow carries profiles and comments along in `info`; a fresh picture has none.
    clean = Image.new(image.mode, image.size)
    clean.paste(image)
    stream = io.BytesIO()
    lossless = image.width * image.height <= _LOSSLESS_PIXELS
    quality = _LOSSLESS_EFFORT if lossless else _QUALITY
    clean.save(stream, "WEBP", lossless=lossless, quality=quality, method=_EFFORT)
    return stream.getvalue()


def on_white(image: Image.Image) -> Image.Image:
    """Return a picture without transparency; what shows through is white."""
    if image.mode != "RGBA":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
