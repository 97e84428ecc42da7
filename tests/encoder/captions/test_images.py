"""Images are decoded with care, and bounded before they are sent."""

import io

import pytest
from PIL import Image

from encoder.captions.images import MAX_ASPECT, MIN_SIDE, SENT_PIXELS, jpeg_address, prepare
from encoder.errors import CaptionError
from tests.encoder.captions.conftest import png


@pytest.mark.parametrize(
    ("size", "sent"),
    [
        ((512, 768), (512, 768)),
        ((768, 768), (768, 768)),
        ((3072, 3072), (768, 768)),
        ((4096, 1024), (1536, 384)),
        # Small ones are enlarged, and narrow ones get margins.
        ((8, 8), (32, 32)),
        ((16, 24), (32, 48)),
        ((4096, 8), (3072, 192)),
        ((8, 4000), (192, 3072)),
    ],
)
def test_a_picture_has_a_size_that_models_take(
    size: tuple[int, int], sent: tuple[int, int]
) -> None:
    picture = prepare(png(size))

    assert picture.mode == "RGB"
    assert picture.width * picture.height <= SENT_PIXELS
    assert min(picture.size) >= MIN_SIDE
    assert max(picture.size) <= MAX_ASPECT * min(picture.size)
    assert picture.size == sent


def test_a_transparent_picture_lies_on_white() -> None:
    """Drawn on black, an ink drawing without background would be nothing."""
    picture = prepare(png((64, 64), "#00000000", "RGBA"))

    assert picture.getpixel((5, 5)) == (255, 255, 255)


def test_a_picture_of_16_bits_keeps_its_grey() -> None:
    """Pillow cuts off what is above 255: the model would be sent white."""
    stream = io.BytesIO()
    Image.new("I;16", (64, 64), 0x4000).save(stream, "PNG")

    assert prepare(stream.getvalue()).getpixel((5, 5)) == (64, 64, 64)


def test_a_picture_is_turned_upright() -> None:
    turned = Image.new("RGB", (80, 40), "red")
    exif = turned.getexif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    turned.save(stream, "JPEG", exif=exif)

    assert prepare(stream.getvalue()).size == (40, 80)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "is empty"),
        (b"<html>not found</html>", "is an HTML page"),
        (b"hello", "no image of a kind"),
        (png()[:60], "broken"),
    ],
    ids=["empty", "a page", "a text", "cut"],
)
def test_what_is_no_picture_is_told_by_what_it_is(data: bytes, cause: str) -> None:
    with pytest.raises(CaptionError, match=cause):
        prepare(data)


@pytest.mark.parametrize(
    ("size", "cause"),
    [((7000, 7000), "7000x7000 pixels, more than"), ((7, 64), "7x64 pixels, too few")],
)
def test_a_picture_too_large_or_too_small_is_refused(size: tuple[int, int], cause: str) -> None:
    # Made here and not among the parameters: all tests wait for those to be made.
    data = png(size)

    with pytest.raises(CaptionError, match=cause):
        prepare(data)


def test_an_address_is_a_jpeg_without_metadata() -> None:
    image = Image.new("RGB", (64, 64), "red")
    image.info["comment"] = b"who drew it"

    address = jpeg_address(image)

    assert address.startswith("data:image/jpeg;base64,/9j/")
