import io
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crawler.covers import MAX_PIXELS, MOST_SCANS, SCAN_MARK, THUMBNAIL_SIDE, read_cover
from crawler.errors import CoverError
from tests.crawler.builders import image_bytes

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n"


def open_image(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def bomb(width: int, height: int) -> bytes:
    """Return a PNG whose header promises many pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    checksum = struct.pack(">I", zlib.crc32(header))
    data = struct.pack(">I", 2**16) + b"IDAT" + zlib.compress(bytes(2**16))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + checksum + data


def progressive(scans: int) -> bytes:
    """Return a JPEG that is sent in so many scans, most of which change nothing."""
    stream = io.BytesIO()
    Image.new("L", (64, 64), 99).save(stream, format="JPEG", progressive=True)
    *before, last = stream.getvalue().split(SCAN_MARK)
    again = SCAN_MARK + last.removesuffix(b"\xff\xd9")
    return SCAN_MARK.join(before) + again * (scans - len(before) + 1) + b"\xff\xd9"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_cover_becomes_webp_with_a_thumbnail(kind: str) -> None:
    cover = read_cover(image_bytes(size=(600, 300), kind=kind))

    assert (cover.width, cover.height) == (600, 300)
    assert open_image(cover.image).format == "WEBP"
    assert open_image(cover.thumbnail).size == (THUMBNAIL_SIDE, THUMBNAIL_SIDE // 2)


def test_a_small_cover_keeps_every_pixel() -> None:
    data = image_bytes(kind="PNG")

    assert open_image(read_cover(data).image).tobytes() == open_image(data).tobytes()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "empty"),
        (LFS_POINTER, "LFS pointer"),
        (b"\n <!DOCTYPE html><html>", "HTML"),
        (b"<svg xmlns=''/>", "SVG"),
        (b'{"Code": 404}', "JSON"),
        (b"\0\0\0\x20ftypisom" + bytes(64), "video"),
        (b"\x1a\x45\xdf\xa3" + bytes(64), "video"),
        (b"hello", "no image"),
        (image_bytes(size=(300, 300))[:-200], "broken"),
        (image_bytes(size=(4, 4)), "too few"),
        (bomb(20_000, MAX_PIXELS // 20_000 + 1), "more than we decode"),
        (bomb(10_000, 10_000), "more pixels than we decode"),
        (bomb(60_000, 60_000), "more pixels than we decode"),
        (progressive(MOST_SCANS + 1), "a JPEG of more than 500 scans"),
    ],
)
def test_what_is_no_cover_is_named(data: bytes, what: str) -> None:
    with pytest.raises(CoverError, match=what):
        read_cover(data)


def test_a_jpeg_in_some_scans_is_read() -> None:
    assert read_cover(progressive(30)).width == 64


@pytest.mark.filterwarnings("ignore")  # Pillow warns of broken EXIF, which is the point.
def test_damaged_images_give_a_cover_or_our_error() -> None:
    numbers = random.Random(0)
    sound = [image_bytes(kind=kind) for kind in ("PNG", "JPEG", "WEBP", "GIF")]
    for _ in range(800):
        data = bytearray(numbers.choice(sound))
        for _ in range(numbers.randint(1, 6)):
            data[numbers.randrange(len(data))] = numbers.randrange(256)
        try:
            read_cover(bytes(data))
        except CoverError:
            continue


def test_metadata_is_dropped_and_orientation_applied() -> None:
    """Photos carry places and names."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    exif[0x010E] = "home address"
    stream = io.BytesIO()
    Image.new("RGB", (40, 20), "red").save(stream, "JPEG", exif=exif, comment=b"secret")

    cover = read_cover(stream.getvalue())

    assert (cover.width, cover.height) == (20, 40)
    assert not open_image(cover.image).getexif()
    assert b"home address" not in cover.image + cover.thumbnail


def test_transparency_is_kept() -> None:
    stream = io.BytesIO()
    Image.new("RGBA", (16, 16), (255, 0, 0, 0)).save(stream, "PNG")

    assert open_image(read_cover(stream.getvalue()).image).mode == "RGBA"


def test_sixteen_bits_of_grey_are_not_white() -> None:
    greys = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    file = io.BytesIO()
    Image.fromarray(greys).save(file, "PNG")

    shown = open_image(read_cover(file.getvalue()).image).convert("L")

    np.testing.assert_allclose(np.asarray(shown, np.int64), greys // 256, atol=2)


def test_the_hash_survives_scaling_and_tells_pictures_apart() -> None:
    original = read_cover(image_bytes(1, (256, 256), "PNG")).phash
    scaled = read_cover(image_bytes(1, (512, 512), "JPEG")).phash
    other = read_cover(image_bytes(2, (256, 256), "PNG")).phash

    assert differing_bits(original, scaled) <= 6
    assert differing_bits(original, other) >= 16


def test_the_hash_fits_a_bigint() -> None:
    hashes = [read_cover(image_bytes(seed)).phash for seed in range(20)]

    assert all(-(2**63) <= value < 2**63 for value in hashes)
    assert min(hashes) < 0 < max(hashes)


def differing_bits(first: int, second: int) -> int:
    return ((first ^ second) & (2**64 - 1)).bit_count()


# Decodes the same picture in eight threads; prints by how many MB the process grew meanwhile.
IN_THREADS = r"""
import re, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from crawler.covers import read_cover

def held(name):
    return int(re.search(name + r":\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024

Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
before, data = held("VmRSS"), Path(sys.argv[1]).read_bytes()
with ThreadPoolExecutor(8) as pool:
    assert [cover.width for cover in pool.map(read_cover, [data] * 8)] == [4090] * 8
print(held("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells what is held")
def test_pictures_decoded_at_once_share_one_bound_of_memory(tmp_path: Path) -> None:
    """Eight WebPs of 1 KB and 17 megapixels each took 2.3 GB; of 40, 4.8 GB."""
    stream = io.BytesIO()
    Image.new("RGB", (4090, 4090)).save(stream, "WEBP", lossless=True)
    path = tmp_path / "bomb.webp"
    path.write_bytes(stream.getvalue())
    assert len(stream.getvalue()) < 2000

    done = subprocess.run(
        [sys.executable, "-c", IN_THREADS, path], capture_output=True, text=True, check=True
    )

    assert int(done.stdout) < 1500
