"""Image files -> pictures of a size that a vision model is sent, decoded with care."""

import base64
import io
import threading

from PIL import Image, ImageOps

from crawler.broken_images import refused
from encoder.errors import CaptionError

MAX_BYTES = 32 * 2**20
# As many as covers may have.
MAX_PIXELS = 40_000_000
# Some 600 tokens of 32x32 (Qwen3-VL) or 750 of 28x28 pixels (Qwen2.5-VL): a cover's subject and
# style are seen, and a thousand covers stay below a million tokens.
SENT_PIXELS = 768 * 768
# A model's patch. Qwen-VL refuses what is 200 times as wide as high, and some endpoints sides
# below 10 pixels: narrow pictures get white margins, small ones are enlarged.
MIN_SIDE = 32
MAX_ASPECT = 16
# So that a picture with margins has no more pixels than any other.
_LONGEST_SIDE = (SENT_PIXELS * MAX_ASPECT) ** 0.5
_JPEG_QUALITY = 85
# One at a time: a large picture takes hundreds of MB while it is decoded.
_DECODING = threading.Lock()
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")


def prepare(data: bytes) -> Image.Image:
    """Return a picture as it is sent: upright, on white, of `SENT_PIXELS` at most.

    Of animations that is the first frame.

    Raises:
        CaptionError: no image, or one too large to decode.
    """
    if len(data) > MAX_BYTES:
        raise CaptionError(f"the image has {len(data):,} bytes, more than are decoded")
    with _DECODING, refused(_refuse), Image.open(io.BytesIO(data), formats=_FORMATS) as opened:
        if opened.width * opened.height > MAX_PIXELS:
            raise CaptionError(f"the image has {opened.width}x{opened.height} pixels, too many")
        # A JPEG is decoded at an eighth, a quarter or half of its size where that is enough.
        opened.draft("RGB", (1024, 1024))
        upright = ImageOps.exif_transpose(opened)
        return _fit(_on_white(upright))


def jpeg_address(image: Image.Image) -> str:
    """Return a picture as a `data:` address, which is how chat endpoints take images."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=_JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    coloured = image.convert("RGBA")
    white = Image.new("RGBA", coloured.size, "white")
    return Image.alpha_composite(white, coloured).convert("RGB")


def _fit(image: Image.Image) -> Image.Image:
    width, height = image.size
    shrunk = min(1.0, (SENT_PIXELS / (width * height)) ** 0.5, _LONGEST_SIDE / max(width, height))
    enlarged = min(MIN_SIDE / min(width, height), MAX_ASPECT * MIN_SIDE / max(width, height))
    scale = max(shrunk, enlarged)
    # Rounded down, but for what floating point is short of a whole number.
    size = (max(1, int(width * scale + 1e-6)), max(1, int(height * scale + 1e-6)))
    scaled = image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)
    least = max(MIN_SIDE, -(-max(size) // MAX_ASPECT))
    if min(size) >= least:
        return scaled
    padded = Image.new("RGB", (max(size[0], least), max(size[1], least)), "white")
    padded.paste(scaled, ((padded.width - size[0]) // 2, (padded.height - size[1]) // 2))
    return padded


def _refuse(cause: str) -> CaptionError:
    return CaptionError(f"it {cause}")
